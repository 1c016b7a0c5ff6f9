"""What a run tells of a night without labels, once it is complete."""
