"""A picture of the report's CAP radar page, made by a local Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from moecap.errors import BadInputError, NotAvailableError, RunError

__all__ = ["BROWSERS", "find_chromium", "write_picture"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1180, 960)
"""CSS pixels of the page in the picture; the file has twice as many."""

SECONDS = 60


def find_chromium() -> str:
    """The browser named by ``MOECAP_CHROMIUM``, or the first known one on the path.

    Raises:
        NotAvailableError: If there is none.
    """
    named = os.environ.get("MOECAP_CHROMIUM")
    if named:
        if found := shutil.which(named):
            return found
        raise NotAvailableError(f"MOECAP_CHROMIUM names {named!r}, which cannot be run; set it to a Chromium's path")
    for browser in BROWSERS:
        if found := shutil.which(browser):
            return found
    raise NotAvailableError(
        "--png needs a Chromium and none was found; install Debian's package chromium, or name one in MOECAP_CHROMIUM"
    )


def write_picture(page: Path, target: Path) -> Path:
    """Draw the CAP radar page of a report into a PNG file.

    Args:
        page: The report.
        target: The picture.

    Raises:
        NotAvailableError: If there is no Chromium.
        BadInputError: If the picture cannot be written.
        RunError: If the browser fails.
    """
    browser = find_chromium()
    if not target.resolve().parent.is_dir():
        raise BadInputError(f"{target}: its folder does not exist; name another place with --png")
    with tempfile.TemporaryDirectory(prefix="moecap-picture-") as folder:
        drawn = Path(folder) / "picture.png"
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--disable-extensions",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
            "--force-device-scale-factor=2",
            f"--user-data-dir={folder}/profile",
            f"--window-size={SIZE[0]},{SIZE[1]}",
            "--virtual-time-budget=4000",
            f"--screenshot={drawn}",
            f"{page.resolve().as_uri()}?view=cap",
        ]
        if os.geteuid() == 0:  # Chromium's sandbox refuses the superuser
            command.insert(1, "--no-sandbox")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise RunError(f"{browser} drew nothing within {SECONDS} s; open {page} in a browser instead") from None
        if not drawn.is_file():
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise RunError(f"{browser} drew nothing ({last}); open {page} in a browser instead")
        try:
            shutil.copyfile(drawn, target)
        except OSError as error:
            raise BadInputError(
                f"{target}: cannot be written ({error.strerror}); name another place with --png"
            ) from None
    return target
