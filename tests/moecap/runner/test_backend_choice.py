"""Which engine runs where the user names none."""

from types import SimpleNamespace

import pytest

from moecap.errors import NotAvailableError
from moecap.runner import plan


def _chosen(monkeypatch, installed, kind, origin):
    def loaded(_group, name):
        return SimpleNamespace(name=name, unavailable=lambda: None if name in installed else "pip install it")

    monkeypatch.setattr(plan, "load_plugin", loaded)
    monkeypatch.setattr(plan, "plugin_names", lambda _group: ["openai", "transformers", "vllm"])
    hardware = SimpleNamespace(profile=SimpleNamespace(kind=kind))
    return plan._best_backend(SimpleNamespace(origin=origin), hardware).name


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
    assert _chosen(monkeypatch, installed, kind, origin) == expected


def test_an_endpoint_is_no_engine_and_what_is_missing_is_named(monkeypatch):
    with pytest.raises(NotAvailableError, match=r"no backend can run here; vllm: pip install it; transformers: pip"):
        _chosen(monkeypatch, {"openai"}, "accelerator", "hub")
