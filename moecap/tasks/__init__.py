"""Accuracy tasks: what a task is, and the built-in ones, one short module each."""
