"""From a run directory to a leaderboard and back: what is sent, signed, asked for, and held against one another."""
