"""A leaderboard's REST API in Python: ``with Leaderboard("https://…") as board: board.results(model="mixtral")``."""

from moecap.client.answers import EvaluationRequest, Key, PublicKey, Row, Rule, Submission
from moecap.client.leaderboard import Leaderboard

__all__ = ["EvaluationRequest", "Key", "Leaderboard", "PublicKey", "Row", "Rule", "Submission"]
