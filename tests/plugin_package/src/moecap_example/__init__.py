"""A third-party backend and task."""
