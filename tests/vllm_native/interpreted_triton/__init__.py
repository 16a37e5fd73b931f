"""A Triton backend for processors that compiles nothing: its kernels are interpreted (``TRITON_INTERPRET=1``)."""
