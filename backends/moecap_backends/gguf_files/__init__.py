"""GGUF files for llama.cpp: written from a checkpoint, found beside one, and checked to the byte."""
