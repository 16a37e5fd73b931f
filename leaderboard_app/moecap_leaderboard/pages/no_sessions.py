"""No sessions: what Gradio would keep of each visitor, and describes anew at each event, is the same for all of them.

The state of these pages is in their addresses and in the browser.
"""

from __future__ import annotations

from copy import copy

from gradio.blocks import Blocks
from gradio.state_holder import SessionState

__all__ = ["NO_SESSION", "NoSessions"]

NO_SESSION = "none"
"""What Gradio is told for a session."""


class NoSessions:
    """Stands where Gradio keeps its sessions, and gives each event a state of its own, which nobody keeps.

    Args:
        blocks: The pages, all built.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._first = SessionState(blocks)  # which takes longer than to answer most events
        self.session_data: dict[str, SessionState] = {}

    def __contains__(self, session_id: str) -> bool:
        return False

    def delete_all_expired_state(self) -> None:
        """There is none."""

    def __getitem__(self, session_id: str) -> SessionState:
        state = copy(self._first)
        state.blocks_config = copy(self._first.blocks_config)
        state.config_values = {key: _apart(config) for key, config in self._first.config_values.items()}
        state.state_data, state._state_ttl = {}, {}
        return state


def _apart(config: dict[str, object]) -> dict[str, object]:
    """The description of a component, with properties that can be written without being shared."""
    return {key: dict(part) if isinstance(part, dict) else part for key, part in config.items()}
