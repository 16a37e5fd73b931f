"""Which neurons or experts carry a morphological attribute, and whether two languages use the same ones."""
