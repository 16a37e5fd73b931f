"""Groundedness of word classes: how much of a word's surprisal what it is about takes away (arXiv 2412.10369)."""
