"""What a run directory must not tell: where on this machine files lie, and who uses it."""

import dataclasses
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.runner.places import public_argument, public_config, without_places
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings

ABSOLUTE = re.compile(r"(?<![\w.<~/:-])(?:file://)?~?/(?!/)[\w.-]")


@pytest.fixture(autouse=True)
def alice7(monkeypatch):
    monkeypatch.setenv("HOME", "/home/alice7")
    monkeypatch.setenv("LOGNAME", "alice7")


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("No such file or directory: '/home/alice7/my model/x.json'", "No such file or directory: 'x.json'"),
        ("cannot open /data/team/kernels.so: no such file", "cannot open kernels.so: no such file"),
        ("error:/opt/a/b.so: bad", "error:b.so: bad"),
        ("in (/a/b/c.py:12)", "in (c.py:12)"),
        ("PATH=/a/b:/c/d", "PATH=b:d"),
        ("x=/x/y,/z/w", "x=y,w"),
        ("file:///srv/x/y.bin", "y.bin"),
        ("gcc -I/home/bob7/include", "gcc -I~/include"),
        ("~/.cache/x/y and ~bob/z", "y and z"),
        ("/home/alice7 is full", "~ is full"),
        ("/" + "root/weights/w.bin", "w.bin"),
        ("alice7 may not", "user may not"),
        ("/data/alice7", "user"),
        ("http://alice7:secret@host/a/b", "http://host/a/b"),
        ("https://host/a/b, </s>, 12 tokens/s, and/or, 1/2, /", "https://host/a/b, </s>, 12 tokens/s, and/or, 1/2, /"),
    ],
)
def test_a_path_becomes_its_last_component_and_other_text_stays(text, public):
    assert without_places(text) == public


@given(
    st.lists(st.from_regex(r"[\w.+@-]{1,12}", fullmatch=True), min_size=1, max_size=6),
    st.sampled_from(["", "'", '"', "("]),
    st.sampled_from(["{}", "open {}: failed", "KEY={}", "KEY={},{}", "error:{}"]),
)
def test_no_absolute_path_is_left_in_any_sentence(parts, quote, sentence):
    path = "/" + "/".join(parts)
    close = ")" if quote == "(" else quote
    assert not ABSOLUTE.search(without_places(sentence.replace("{}", quote + path + close)))


def test_a_config_loses_where_it_lay_at_any_depth_and_nothing_else():
    config = {
        "_name_or_path": "/home/alice7/m",
        "text_config": {"_name_or_path": "m", "layers": [1, {"file": "/home/alice7/q.json"}], "token": "</s>"},
        "auto_map": {"AutoModel": "org/name--modeling.X"},
    }
    assert public_config(config) == {
        "text_config": {"layers": [1, {"file": "q.json"}], "token": "</s>"},
        "auto_map": {"AutoModel": "org/name--modeling.X"},
    }


@pytest.mark.engine
def test_a_run_that_fails_with_a_path_in_its_error_leaves_none_in_its_directory(run_options, monkeypatch, tmp_path):
    from moecap.report.page import write_report
    from moecap_backends.transformers import TransformersEngine

    def dies(*_arguments):
        raise OSError(2, "alice7 has no such file", "/home/alice7/kernels/fused moe.so")

    monkeypatch.setattr(TransformersEngine, "_generate_batch", dies)
    monkeypatch.setenv("OMP_PROC_BIND", "/home/alice7/bind")
    options = run_options | {"engine_arg": ["experts_implementation=eager"], "output": str(tmp_path / "run")}
    outcome = run(with_settings(options, ()), Reporter(quiet=True))
    write_report(outcome.directory)
    assert outcome.result.reason == "FileNotFoundError: [Errno 2] user has no such file: 'fused moe.so'"
    assert (
        outcome.problem == "FileNotFoundError: [Errno 2] alice7 has no such file: '/home/alice7/kernels/fused moe.so'"
    )
    for name in ("result.json", "environment.json", "report.html"):
        text = (outcome.directory / name).read_text()
        private = ["/home/", "alice7", str(tmp_path), run_options["model"], run_options["dataset"], run_options["hw"]]
        assert not [word for word in private if word in text], name


@pytest.mark.engine
def test_paths_in_arguments_become_names_in_the_result_and_in_its_command(run_options):
    from moecap.runner import story as module
    from moecap.runner.run import make_plan

    config = with_settings(run_options | {"engine_arg": ["cache=/home/alice7/c"], "num_requests": 11}, ())
    plan = make_plan(config, print)
    with_task = plan.config.model_copy(update={"task_arg": ("gold=/data/g.jsonl",)})
    plan = dataclasses.replace(plan, config=with_task)
    public = module._public_workload(plan)
    with_endpoint = plan.config.model_copy(update={"endpoint": "http://alice7:secret@host:8000/v1"})
    assert module._public_workload(dataclasses.replace(plan, config=with_endpoint)).endpoint == "http://endpoint/v1"
    assert (public.engine_arg, public.task_arg) == (("cache=c",), ("gold=g.jsonl",))
    command = module.reproduction_command(public)
    assert "--num-requests 11" in command
    assert not ABSOLUTE.search(command)


def test_the_name_of_root_is_no_secret():
    script = "from moecap.runner.places import without_places as w; print(w('the root of root mean square'))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"LOGNAME": "root"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "the root of root mean square\n"


@pytest.mark.parametrize(
    ("pair", "public"),
    [
        ("judge=https://me:secret@judge.inside.example/v1", "judge=https://endpoint/v1"),
        ("judge=http://127.0.0.1:8000/v1", "judge=http://127.0.0.1:8000/v1"),
        ("instructions=/home/alice7/told.txt", "instructions=told.txt"),
        ("shots=5", "shots=5"),
    ],
)
def test_a_tasks_argument_names_no_machine(pair, public):
    assert public_argument(pair) == public
