"""RULER (Hsieh et al. 2024, arXiv 2404.06654): synthetic questions about prompts of a given number of tokens."""
