"""What an answer says and whether it is right: pure functions from texts, of no task in particular."""
