"""Tasks of the Language Model Evaluation Harness (``lm-eval``), asked through moecap's own engines.

Listing and looking up names imports nothing of lm-eval; its modules are imported where a task is loaded.
"""
