"""When to distrust a prediction: arrays in, arrays out."""
