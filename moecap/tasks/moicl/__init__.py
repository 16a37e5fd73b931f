"""Mixtures of in-context learners (Hong et al., ACL 2025, arXiv 2411.02830): demonstrations as weighted experts."""
