"""Results of an earlier run, found again by text: the index of a run, and what is taken from it."""
