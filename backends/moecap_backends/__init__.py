"""Serving systems that moecap drives, one module each."""
