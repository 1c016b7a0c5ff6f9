"""The run folder: what four programs agree on, without Ray and without a model."""
