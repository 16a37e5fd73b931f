"""Pure functions from (observations, model spec, hardware profile) to numbers; they load no engine and keep no state."""
