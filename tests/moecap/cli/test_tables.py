"""Tables on narrow terminals: nothing that the wide one shows is cut."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from moecap.cli.table import show_table

COMMANDS = ["models list", "models show mixtral", "hw list", "hw show a100", "data list", "tasks list", "schema"]


def _on_terminal(command: str, width: int) -> str:
    """What a command shows on a real terminal of that width."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    words = [sys.executable, "-m", "moecap", *command.split()]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(words, stdout=end, env=environment | {"TERM": "xterm"}) as process:
        os.close(end)
        shown = b""
        while True:
            try:
                shown += os.read(terminal, 65536)
            except OSError:  # the end of a terminal whose other side is closed
                break
        os.close(terminal)
    assert process.returncode == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\S*\d\S*", text))


@pytest.fixture(scope="module")
def piped():
    def show(command: str) -> str:
        words = [sys.executable, "-m", "moecap", *command.split()]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    return show


@pytest.mark.parametrize("width", [40, 60])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_number_and_name_of_the_wide_table_is_whole_in_the_narrow_one(command, width, piped):
    narrow = _on_terminal(command, width)
    assert not _words(piped(command)) - _words(narrow)
    assert "…" not in narrow
    assert all(len(line) <= width or len(line.split()) == 1 for line in narrow.split("\n")), "only a word is wider"


def _shown(columns, rows, width, right=()) -> str:
    stream = io.StringIO()
    show_table(Console(file=stream, width=width), columns, rows, right)
    return stream.getvalue()


def test_a_table_keeps_its_columns_where_they_fit_and_wraps_the_running_text_first():
    rows = [["speed", "12.5 ms", "measured over the whole run and no other"]]
    shown = _shown(["what", "value", "remark"], rows, 40, right=["value"])
    assert [line.rstrip() for line in shown.splitlines()] == [
        "what     value  remark",
        "speed  12.5 ms  measured over the whole",
        "                run and no other",
    ]


def test_a_table_that_does_not_fit_becomes_one_record_a_row():
    columns = ["id", "name", "memory GB", "GB/s"]
    shown = _shown(columns, [["a100-sxm4-80gb", "A100 SXM4", "80", "2,039"]], 30, right=columns[2:])
    assert shown.splitlines() == ["a100-sxm4-80gb", "  name: A100 SXM4", "  memory GB: 80  GB/s: 2,039"]


def test_brackets_in_a_cell_are_text():
    assert 'pip install "moecap[all]"' in _shown(["a", "b"], [["x", 'pip install "moecap[all]"']], 80)


@given(
    st.lists(st.lists(st.from_regex(r"[a-z0-9.,]{0,30}( [a-z0-9]{1,9}){0,5}", fullmatch=True), min_size=4, max_size=4)),
    st.integers(8, 120),
)
def test_no_word_is_lost_or_cut_at_any_width(rows, width):
    shown = _shown(["", "first", "second", ""], rows, width, right=["second"])
    assert not Counter(" ".join(cell for row in rows for cell in row).split()) - Counter(shown.split())
