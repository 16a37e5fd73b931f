"""Private texts are found wherever in a file they hide, and nothing else is taken for one."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.errors import BadInputError
from moecap.publishing.disclosure import Private, find_private, machine_private, without_private

HOST = Private("this machine's name", "gpu-box-7")
USER = Private("this user's name", "müller")
HOME = Private("this user's home folder", "/home/müller")
KEY = Private("the value of HF_TOKEN", "abcd-1234-efgh", secret=True)
PRIVATE = (HOST, USER, HOME, KEY)


def _found(path, **options):
    return {(finding.what, finding.shown) for finding in find_private(path, PRIVATE, **options)}


def _written(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("text", ["gpu-box-7", "see GPU-BOX-7:8000", "http://gpu-box-7/v1", "gpu-box-7.local"])
def test_a_host_name_is_found_as_a_word(tmp_path, text):
    assert ("this machine's name", "gpu-box-7") in _found(_written(tmp_path, "result.json", {"a": [{"b": text}]}))


@pytest.mark.parametrize("text", ["gpu-box-77", "my-gpu-box-7", "gpu-box", "gpu-box-7a"])
def test_a_part_of_another_word_is_none(tmp_path, text):
    assert _found(_written(tmp_path, "result.json", {"a": text})) == set()


def test_names_are_found_in_keys_in_escapes_and_in_any_line(tmp_path):
    assert '"m\\u00fcller"' in json.dumps({"müller": 1})
    assert ("this user's name", "müller") in _found(_written(tmp_path, "environment.json", {"müller": 1}))
    lines = json.dumps({"prompt": "a"}) + "\n" + json.dumps({"prompt": "by Müller"}) + "\n"
    assert ("this user's name", "müller") in _found(_written(tmp_path, "samples.jsonl", lines))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["", None, "error at gpu-box-7"]),
        pa.array([["a"], ["b", "gpu-box-7"], []]),
        pa.array([{"x": {"y": "gpu-box-7"}}, {"x": {"y": "z"}}, None]),
        pa.array(["gpu-box-7", "a", "gpu-box-7"]).dictionary_encode(),
        pa.array([b"gpu-box-7", b"", None]),
        pa.array(["gpu-box-7", "", None], pa.large_string()),
        pa.array([[("k", "gpu-box-7")], [], None], pa.map_(pa.string(), pa.string())),
    ],
)
def test_names_are_found_in_compressed_columns_of_parquet(tmp_path, column):
    path = tmp_path / "requests.parquet"
    pq.write_table(pa.table({"column": column, "n": [1, 2, 3]}), path, compression="zstd")
    assert ("this machine's name", "gpu-box-7") in _found(path)


def test_names_are_found_in_the_metadata_of_parquet(tmp_path):
    path = tmp_path / "steps.parquet"
    pq.write_table(pa.table({"n": [1]}).replace_schema_metadata({"made on": "gpu-box-7"}), path)
    assert ("this machine's name", "gpu-box-7") in _found(path)


def test_names_are_found_in_compressed_arrays_and_their_names(tmp_path):
    for arrays in ({"capture": np.array("on gpu-box-7")}, {"gpu-box-7": np.zeros(3)}):
        np.savez_compressed(tmp_path / "routing.npz", **arrays)
        assert ("this machine's name", "gpu-box-7") in _found(tmp_path / "routing.npz")


def test_a_key_is_found_inside_a_word_and_not_shown(tmp_path):
    path = _written(tmp_path, "server.log", "curl xabcd-1234-efghx")
    assert _found(path) == {("the value of HF_TOKEN", "abcd… (14 characters)")}


@pytest.mark.parametrize(
    "key",
    [
        "hf_" + "aB3" * 11,
        "sk-proj-" + "x1" * 20,
        "ghp_" + "a1" * 18,
        "github_pat_" + "a1" * 30,
        "AKIA" + "ABCDEFGH12345678",
        "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4",
        "Bearer abcdefghijklmnop1234",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "moecap_ab12cd34_" + "s" * 43,
    ],
)
def test_what_has_the_form_of_a_key_is_found_in_every_file(tmp_path, key):
    for name, content in (("result.json", {"a": f"x {key} y"}), ("samples.jsonl", json.dumps({"p": f"({key})"}))):
        assert [what for what, _ in _found(_written(tmp_path, name, content))] == ["a key or password"], name


def test_the_password_of_a_url_is_found(tmp_path):
    found = _found(_written(tmp_path, "result.json", {"a": "postgres://ann:secret99@db/x"}))
    assert found == {("a key or password", "ann:… (12 characters)")}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("open /data/team/weights.bin", "a path"),
        ("error:/opt/a/b.so: bad", "a path"),
        ("file:///mnt/data/weights", "a path"),
        ("http://gpu17:8000/v1", "a machine's name"),
        ("cannot reach tcp://node-3.cluster.internal:5555.", "a machine's name"),
        ("/home/ann", "a home folder"),
        ("C:\\Users\\ann", "a home folder"),
        ("10.1.2.3", "a network address"),
        ("http://192.168.0.17:8000", "a network address"),
        ("to 34.120.8.9, refused", "a network address"),
        ("fe80::1ff:fe23:4567:890a", "a network address"),
        ("[2001:db8::8a2e:370:7334]", "a network address"),
    ],
)
def test_places_and_addresses_are_found_in_what_moecap_wrote(tmp_path, text, what):
    assert what in {kind for kind, _ in _found(_written(tmp_path, "result.json", {"a": text}))}


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:8000 and 0.0.0.0 and ::1",
        "https://arxiv.org/abs/2412.07067/v2",
        "tokens/s, and/or, 1/2, </s>, model.layers.0/experts",
        "no readable energy counter (/sys/class/powercap/intel-rapl:*)",
        "POST /v1/chat/completions",
        "std::vector, 12:30:45, a::b",
        "transformers 5.19.0, 2.13.0+cpu, 6.18.44-fc-v669",
        "~/.cache/x",
        "http://localhost:30000/v1, http://endpoint/v1, https://huggingface.co/a, hf://org/model",
    ],
)
def test_what_looks_like_one_and_is_none_is_let_through(tmp_path, text):
    assert _found(_written(tmp_path, "result.json", {"a": text})) == set()


def test_four_numbers_under_the_name_of_a_version_are_no_address(tmp_path):
    software = {"version": "10.13.3.9", "environment": {"tensorrt": "10.13.3.9"}, "details": {"peer": "10.13.3.9"}}
    assert len(_found(_written(tmp_path, "result.json", software))) == 1


def test_places_and_addresses_in_prompts_are_of_data_sets_and_go(tmp_path):
    path = _written(tmp_path, "samples.jsonl", json.dumps({"prompt": "Is 10.0.0.1 private? cat /etc/passwd/x"}))
    assert _found(path) == set()


def test_a_text_that_is_allowed_goes(tmp_path):
    path = _written(tmp_path, "result.json", {"a": "gpu-box-7 at 10.1.2.3"})
    assert _found(path, allowed=("gpu-box-7", "10.1.2.3")) == set()


@pytest.mark.parametrize("name", ["a.parquet", "a.npz", "a.json", "a.jsonl"])
def test_a_file_that_cannot_be_searched_is_refused(tmp_path, name):
    with pytest.raises(BadInputError, match="cannot be searched for names and keys"):
        find_private(_written(tmp_path, name, "{no"), PRIVATE)


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=5), child, max_size=3),
    max_leaves=12,
)


@given(before=json_trees, after=json_trees, wrap=st.sampled_from([" {} ", "({})", "x={},", "\n{}\t", '"{}"']))
def test_a_name_is_found_wherever_it_stands(tmp_path_factory, before, after, wrap):
    path = tmp_path_factory.mktemp("tree") / "result.json"
    path.write_text(json.dumps([before, {"k": [wrap.format("gpu-box-7")]}, after]))
    assert ("this machine's name", "gpu-box-7") in _found(path)


def test_this_machine_is_known_by_its_name_its_user_and_the_keys_of_its_environment(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "node4.cluster.example")
    monkeypatch.setenv("LOGNAME", "alice7")
    monkeypatch.setenv("HOME", "/home/alice7")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false-false")
    monkeypatch.setenv("MONKEY", "12345678")
    known = {(item.text, item.secret) for item in machine_private()}
    texts = {"node4.cluster.example", "node4", "alice7", "/home/alice7"}
    assert {(text, False) for text in texts} | {("0123456789abcdef", True)} <= known
    assert not {"false-false", "12345678"} & {text for text, _ in known}
    said = without_private("node4: open /home/alice7/x/weights.bin for alice7 with 0123456789abcdef from 10.0.0.8")
    assert said == "…: open weights.bin for user with … from (address)"


def test_names_that_every_machine_has_are_no_secret(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    monkeypatch.setenv("LOGNAME", "root")
    assert not {"localhost", "root"} & {item.text for item in machine_private()}
