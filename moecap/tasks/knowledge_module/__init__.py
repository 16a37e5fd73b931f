"""Knowledge modules by deep context distillation (Caccia et al. 2025, arXiv 2503.08727)."""
