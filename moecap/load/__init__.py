"""The load generator: its own HTTP client, arrivals, sessions, decoding of answers, and proof that it keeps up."""
