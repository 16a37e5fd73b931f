"""What a run needs from outside: the cache, packages it fetches, data sets."""
