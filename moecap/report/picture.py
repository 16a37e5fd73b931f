"""Pictures of a report, made by a local Chromium: its CAP radar page, and every chart by itself."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from moecap.errors import BadInputError, NotAvailableError, RunError

__all__ = ["BROWSERS", "find_chromium", "write_drawings", "write_picture"]

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
        "pictures need a Chromium and none was found; install Debian's package chromium or name one in MOECAP_CHROMIUM"
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
    if not target.resolve().parent.is_dir():
        raise BadInputError(f"{target}: its folder does not exist; name another place with --png")
    with tempfile.TemporaryDirectory(prefix="moecap-picture-") as folder:
        drawn = Path(folder) / "picture.png"
        size = f"--window-size={SIZE[0]},{SIZE[1]}"
        _browse(page, "cap", folder, "--force-device-scale-factor=2", size, f"--screenshot={drawn}")
        if not drawn.is_file():
            raise RunError(f"the browser drew nothing; open {page} in a browser instead")
        try:
            shutil.copyfile(drawn, target)
        except OSError as error:
            raise BadInputError(
                f"{target}: cannot be written ({error.strerror}); name another place with --png"
            ) from None
    return target


def write_drawings(page: Path, folder: Path) -> list[Path]:
    """Write every chart of a report into a folder, an SVG file each, in the page's light colours.

    Args:
        page: The report.
        folder: Where they go; it is made if it is not there.

    Raises:
        NotAvailableError: If there is no Chromium.
        BadInputError: If a file cannot be written.
        RunError: If the browser fails.
    """
    with tempfile.TemporaryDirectory(prefix="moecap-picture-") as own:
        shown = _browse(page, "svg", own, "--dump-dom")
    body = re.search(r"<body[^>]*>(.*)</body>", shown, re.DOTALL)
    try:
        drawn = json.loads(html.unescape(body[1]) if body else "")
    except json.JSONDecodeError:
        raise RunError(f"the browser drew nothing; open {page} in a browser instead") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = [folder / f"{name.removeprefix('chart-')}.svg" for name in drawn]
        for path, text in zip(written, drawn.values(), strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"{folder}: cannot be written ({error.strerror}); name another place with --svg") from None
    return written


def _browse(page: Path, view: str, folder: str, *options: str) -> str:
    """What a browser without a window prints of a view of a page."""
    browser = find_chromium()
    command = [
        browser,
        "--headless",
        "--disable-gpu",
        "--disable-extensions",
        "--disable-background-networking",
        "--no-first-run",
        "--hide-scrollbars",
        f"--user-data-dir={folder}/profile",
        "--virtual-time-budget=4000",
        *options,
        f"{page.resolve().as_uri()}?view={view}",
    ]
    if os.geteuid() == 0:  # Chromium's sandbox refuses the superuser
        command.insert(1, "--no-sandbox")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RunError(f"{browser} drew nothing within {SECONDS} s; open {page} in a browser instead") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RunError(f"{browser} drew nothing ({last}); open {page} in a browser instead")
    return done.stdout
