"""Ads: tables of them, their schema, the cleaned text, and the labelled splits of a training."""
