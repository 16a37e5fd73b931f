"""Drives a run: plan it, execute it, store what it observed, derive its numbers."""
