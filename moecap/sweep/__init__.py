"""Many runs from one file: what its lists multiply to, which of them have finished, and the running of the others."""
