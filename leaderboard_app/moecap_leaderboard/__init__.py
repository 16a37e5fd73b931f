"""The leaderboard: its store, its rules and its REST API."""
