"""From labelled ads to a fitted model."""
