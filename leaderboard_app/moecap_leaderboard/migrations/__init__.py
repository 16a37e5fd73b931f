"""The history of the schema; a new version of the tables is a new file in ``versions``."""
