"""The projection: how fast a model would run on hardware that is not here, and how far off that may be."""
