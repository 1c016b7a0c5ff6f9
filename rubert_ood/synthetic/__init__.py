"""The material of demo and tests: a generated catalogue, out-of-domain texts, a small BERT."""
