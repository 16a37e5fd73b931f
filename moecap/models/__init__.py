"""What a model is made of, read from its ``config.json``, and what a step of it reads and computes."""
