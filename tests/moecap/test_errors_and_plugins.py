"""Names are looked up with help, and plugins are found without importing them."""

import subprocess
import sys

import pytest

from moecap.errors import MoecapError, NotAvailableError, UnknownNameError, UsageError
from moecap.plugins import BACKENDS, TASKS, load_plugin, plugin_names


def test_an_unknown_name_lists_what_is_known_and_offers_the_near_one():
    error = UnknownNameError("backend", "vlm", ["openai", "projected", "transformers", "vllm"])
    assert str(error) == ("no backend named 'vlm'; known: openai, projected, transformers, vllm (did you mean 'vllm'?)")


def test_usage_errors_exit_with_two_and_others_with_one():
    assert (UsageError.exit_status, MoecapError.exit_status) == (2, 1)


def test_the_built_in_backend_and_task_come_through_the_entry_points():
    assert "transformers" in plugin_names(BACKENDS)
    assert load_plugin(TASKS, "arc_easy").name == "arc_easy"


def test_a_plugin_that_cannot_be_imported_says_which_package_brings_it(monkeypatch):
    from importlib.metadata import EntryPoint

    from moecap import plugins

    monkeypatch.setattr(plugins, "_points", lambda group: {"broken": EntryPoint("broken", "no_such_module:X", group)})
    with pytest.raises(NotAvailableError, match="backend 'broken' cannot be loaded: No module named 'no_such_module'"):
        load_plugin(BACKENDS, "broken")


HEAVY = "{'torch', 'transformers', 'vllm', 'gradio', 'fastapi', 'pandas', 'plotly', 'pyarrow'}"
START_UPS = {
    "import": "import moecap",
    "help": "from moecap.cli import main; main(['--help'])",
    "listing": "from moecap.plugins import *; plugin_names(BACKENDS)",
}


@pytest.mark.parametrize("start", START_UPS.values(), ids=START_UPS.keys())
def test_start_up_loads_no_heavy_library(start):
    code = f"{start}\nimport sys; print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
