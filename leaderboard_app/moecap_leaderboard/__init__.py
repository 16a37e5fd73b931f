"""The leaderboard: store, REST API and pages. Not built yet; the package keeps its place and its name."""
