"""Which engine runs where the user names none, and when nothing does."""

from types import SimpleNamespace

import pytest

from moecap.config import RunConfig
from moecap.errors import NotAvailableError
from moecap.runner import choice


def _chosen(monkeypatch, installed, kind, origin, **options):
    def loaded(_group, name):
        reason = None if name in (*installed, "projected") else "pip install it"
        return SimpleNamespace(name=name, projects=name == "projected", attaches=False, unavailable=lambda: reason)

    profile = SimpleNamespace(kind=kind, id="chip")
    hardware = SimpleNamespace(profile=profile, is_local=options.pop("local", True), available=0, count=1)
    monkeypatch.setattr(choice, "load_plugin", loaded)
    monkeypatch.setattr(choice, "plugin_names", lambda _group: ["openai", "projected", "transformers", "vllm"])
    monkeypatch.setattr(choice, "resolve_hardware", lambda *_args, **_more: hardware)
    return choice.choose(RunConfig(**options), SimpleNamespace(origin=origin), lambda _line: None)


@pytest.mark.parametrize(
    ("installed", "kind", "origin", "expected"),
    [
        ({"vllm", "transformers"}, "accelerator", "hub", "vllm"),
        ({"vllm", "transformers"}, "host", "local", "vllm"),
        ({"vllm", "transformers"}, "host", "embedded", "transformers"),
        ({"vllm"}, "host", "embedded", "vllm"),
        ({"transformers"}, "accelerator", "hub", "transformers"),
    ],
)
def test_the_best_engine_that_is_installed_runs(monkeypatch, installed, kind, origin, expected):
    found = _chosen(monkeypatch, installed, kind, origin)
    assert (found.backend.name, found.because) == (expected, "")


def test_an_endpoint_is_no_engine_and_what_is_missing_is_named(monkeypatch):
    found = _chosen(monkeypatch, {"openai"}, "accelerator", "hub")
    assert found.backend.name == "projected"
    assert found.because == "no engine can run here (vllm: pip install it; transformers: pip install it)"


def test_hardware_elsewhere_is_projected_unless_that_is_refused(monkeypatch):
    found = _chosen(monkeypatch, {"vllm"}, "accelerator", "hub", local=False, hw="a100")
    assert (found.backend.name, found.because) == ("projected", "a100 (chip) is not in this machine")
    with pytest.raises(NotAvailableError, match=r"a100 .chip. is not in this machine.*refuses to project"):
        _chosen(monkeypatch, {"vllm"}, "accelerator", "hub", local=False, hw="a100", measured=True)
    with pytest.raises(NotAvailableError, match=r"no engine can run here.*refuses to project"):
        _chosen(monkeypatch, set(), "host", "hub", measured=True)


def test_an_engine_that_was_named_measures_or_is_refused(monkeypatch):
    assert _chosen(monkeypatch, {"transformers"}, "host", "hub", backend="projected").backend.projects
    with pytest.raises(NotAvailableError, match="backend 'vllm' can measure nothing on it"):
        _chosen(monkeypatch, {"vllm"}, "accelerator", "hub", local=False, hw="a100", backend="vllm")
