"""Neurosymbolic diffusion (arXiv 2505.13138): masked diffusion over concepts, which a program turns into labels."""
