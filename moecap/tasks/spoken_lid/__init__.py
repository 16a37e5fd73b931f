"""Robust spoken language identification across domains and speakers (SIGTYP 2021, arXiv 2106.03895)."""
