"""The page on which a person tries texts on a bundle, and looks ads up in a run."""
