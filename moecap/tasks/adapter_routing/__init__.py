"""Adapter routing: LoRA inventories whose skills each task mixes by itself (Poly, MHR, MHR-z, MHR-mu).

Caccia et al., Multi-Head Adapter Routing for Cross-Task Generalization, arXiv 2211.03831.
"""
