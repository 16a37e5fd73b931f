"""Pure functions from observations, model specification and hardware profile to numbers; they keep no state."""
