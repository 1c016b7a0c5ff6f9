"""A bundle in a repository of the Hugging Face hub: its files, its page, one commit."""
