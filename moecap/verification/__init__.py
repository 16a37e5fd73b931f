"""What a result states, checked against what its directory holds."""
