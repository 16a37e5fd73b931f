"""What the Docker image and a Hugging Face Space start: the leaderboard, with its store restored and saved where asked.

Environment, beside that of ``moecap serve`` (leaderboard_app/README.md):

``PORT``                 where it listens; 7860 by default
``MOECAP_DEMO``          1 fills an empty store with the project's own examples
``MOECAP_HUB_DATASET``   OWNER/NAME of a private dataset repository that keeps a copy of the store
``MOECAP_HUB_SECONDS``   how often it is saved; 300 by default
"""

from __future__ import annotations

import os
import sys

from moecap.cli import main
from moecap.cli.output import remark
from moecap.errors import MoecapError
from moecap.interruption import interruptible
from moecap_leaderboard.hub_copy import HubCopy
from moecap_leaderboard.settings import Settings

SAVED_EVERY_S = 300.0


def start() -> int:
    """Serve until a signal ends it, and return the exit status."""
    arguments = ["serve", "--host", "0.0.0.0", "--port", os.environ.get("PORT", "7860")]
    if os.environ.get("MOECAP_DEMO") == "1":
        arguments.append("--demo")
    repository = os.environ.get("MOECAP_HUB_DATASET")
    if not repository:
        return main(arguments)
    try:
        seconds = float(os.environ.get("MOECAP_HUB_SECONDS", SAVED_EVERY_S))
        copy = HubCopy(repository, Settings.from_environment(), remark)
        copy.restore()
    except (MoecapError, ValueError) as error:
        remark(f"moecap: {error}")
        return 2
    with copy.saving(seconds):
        return main(arguments)


if __name__ == "__main__":
    with interruptible(last=True):
        status = start()
    sys.exit(status)
