"""Which ads of a run people label, and what becomes of their answers."""
