"""Classify Russian private ads with RuBERT, and know when not to trust the answer."""

__version__ = "0.3.0"
