"""The largest load at which service levels hold."""
