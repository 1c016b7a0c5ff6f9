"""From unlabelled ads to an encoder that knows their words, before it is fine-tuned."""
