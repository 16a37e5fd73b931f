"""Models are found by short name, path or hub id; whatever cannot be used ends in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors
from hypothesis import given, settings
from hypothesis import strategies as st

from moecap.errors import BadInputError, MoecapError, NotAvailableError, UnknownNameError, UsageError
from moecap.models import embedded, hub
from moecap.models.config_file import parse_config
from moecap.models.nested import text_part
from moecap.models.reading import read_model
from moecap.models.registry import EMBEDDED, load_model, load_model_config, packaged_models, short_names
from moecap.models.spec import ModelSpec

MIXTRAL, _ = load_model_config("mixtral")


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text
    assert text.isprintable()
    return text


def test_mixtral_is_mixtral_8x7b_instruct() -> None:
    spec, ref = load_model("mixtral")
    assert (spec.name, ref.id, ref.origin) == (ref.id, "mistralai/Mixtral-8x7B-Instruct-v0.1", "packaged")
    assert load_model_config("mixtral-8x7b")[0] == load_model_config("MIXTRAL")[0] == MIXTRAL


def test_at_least_25_mixtures_are_packaged_and_each_has_a_source() -> None:
    models = packaged_models()
    assert len(models) >= 25
    assert all(load_model(model.name)[0].is_moe for model in models)
    assert all(model.source and "/" in model.hub_id for model in models)
    assert len(short_names()) == sum(1 + len(model.names) for model in models)


def test_the_hub_id_of_a_packaged_model_needs_no_network() -> None:
    config, ref = load_model_config("qwen/qwen3-30b-a3b")
    assert ref.origin == "packaged"
    assert config["model_type"] == "qwen3_moe"


def test_the_embedded_model_has_a_short_name() -> None:
    assert embedded.NAME == EMBEDDED
    config, ref = load_model_config(EMBEDDED)
    assert (config, ref.origin) == (embedded.config(), "embedded")
    assert load_model(EMBEDDED)[0].is_moe


def test_local_folders_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(MIXTRAL), encoding="utf-8")
    for name in (str(folder), str(folder / "config.json")):
        config, ref = load_model_config(name)
        assert (config, ref.id, ref.origin, ref.path) == (MIXTRAL, "my-model", "local", Path(name))
    monkeypatch.chdir(tmp_path)
    assert load_model_config("my-model")[1].origin == "local"
    monkeypatch.chdir(folder)
    assert load_model_config(".")[1].id == "my-model"


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(MIXTRAL).encode())
    assert load_model_config(str(file))[0] == MIXTRAL


@pytest.mark.parametrize("name", ["mixtrall", "mixtral-8x7", "", " ", "x" * 5000, "a\nb", "\udcff", "/none/"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_model_config(name)
    text = one_line(caught.value)
    assert len(text) < 1000 or name.startswith("/")
    if name.startswith("mixtral"):
        assert isinstance(caught.value, UnknownNameError)
        assert "did you mean 'mixtral-8x7b'" in text or "did you mean 'mixtral' or 'mixtral-8x7b'" in text


@pytest.mark.parametrize("name", ["~nobody-of-this-name/model", "./none", "none.json", "a/b/c", "./\0"])
def test_paths_that_lead_nowhere(name: str) -> None:
    with pytest.raises(BadInputError) as caught:
        load_model_config(name)
    one_line(caught.value)


HOSTILE = {
    "empty": (b"", "not valid JSON"),
    "truncated": (json.dumps(MIXTRAL).encode()[:100], "not valid JSON"),
    "binary": (b"\x80\x04\x95\xff\xfe", "not UTF-8"),
    "deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    "deep list": (b"[" * 1_000_000, "nested too deeply"),
    "large": (b" " * (4 * 2**20 + 1), "larger than 4 MiB"),
    "nan": (b'{"hidden_size": NaN}', "NaN is not a JSON number"),
    "infinity": (b'{"hidden_size": Infinity}', "Infinity is not a JSON number"),
    "infinity in a list": (b'{"layer_types": [1, Infinity]}', "Infinity is not a JSON number"),
    "negative infinity": (b'{"hidden_size": -Infinity}', "-Infinity is not a JSON number"),
    "overflow": (b'{"hidden_size": 1e999}', "the number 1e999 is too large"),
    "digits": (b'{"hidden_size": ' + b"9" * 5000 + b"}", "not valid JSON"),
    "twice": (b'{"hidden_size": 1, "hidden_size": 2}', "the key 'hidden_size' stands twice"),
    "list": (b"[1, 2]", "holds a JSON list, not an object"),
    "null": (b"null", "not an object"),
    "no keys": (b"{}", "lacks hidden_size"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(case: str, tmp_path: Path) -> None:
    content, message = HOSTILE[case]
    (tmp_path / "config.json").write_bytes(content)
    for name in (tmp_path, tmp_path / "config.json"):
        with pytest.raises(BadInputError) as caught:
            load_model(str(name))
        assert message in one_line(caught.value)


def test_the_one_infinity_of_published_configs_is_read() -> None:
    content = b'{"time_step_limit": [0.0, Infinity], "hidden_size": 64}'
    assert parse_config(content, "'config.json'")["hidden_size"] == 64


def test_folders_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"has no config\.json; give a model folder"):
        load_model(str(tmp_path))


def test_what_is_not_a_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    for name in (str(tmp_path), "/dev/zero"):
        with pytest.raises(BadInputError, match="is not a file"):
            load_model(name)


def test_links_that_turn_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to(tmp_path / "config.json")
    with pytest.raises(BadInputError) as caught:
        load_model(str(tmp_path))
    one_line(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"hidden_size": "4096"}, "hidden_size = '4096'; it must be an integer from 1"),
        ({"hidden_size": -4096}, "hidden_size = -4096; it must be an integer from 1"),
        ({"hidden_size": True}, "hidden_size = True"),
        ({"hidden_size": 4096.5}, "hidden_size = 4096.5"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0"),
        ({"num_hidden_layers": 10**9}, "at most 4096"),
        ({"vocab_size": 10**30}, "vocab_size = 1000"),
        ({"num_attention_heads": 33}, "num_attention_heads = 33; it must be a divisor of hidden_size = 4096"),
        ({"num_key_value_heads": 5}, "num_key_value_heads = 5; it must be a divisor of num_attention_heads = 32"),
        ({"num_experts_per_tok": 9}, "num_experts_per_tok = 9; it must be at most the number of experts, 8"),
        ({"sliding_window": -1}, "sliding_window = -1"),
        ({"layer_types": ["full_attention"]}, "layer_types = 1; it must be 32 of"),
        ({"layer_types": ["mystery"] * 32}, "layer_types = ['mystery']"),
        ({"layer_types": ["sliding_attention"] * 32}, "lacks sliding_window"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings = 'no'; it must be true or false"),
        ({"architectures": "MixtralForCausalLM"}, "architectures = 'MixtralForCausalLM'; it must be a list of strings"),
        ({"architectures": ["\x1b[2J"]}, "architectures = ['\\x1b[2J']"),
        ({"model_type": ["mixtral"]}, "model_type = ['mixtral']"),
        ({"model_type": "a\nb"}, "model_type = 'a\\nb'"),
        ({"torch_dtype": "float12"}, "unknown dtype"),
        ({"torch_dtype": {}}, "torch_dtype = {}"),
        ({"quantization_config": [1]}, "quantization_config = [1]; it must be an object"),
    ],
)
def test_values_that_cannot_be(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_model(MIXTRAL | keys, "hostile")
    assert message in one_line(caught.value)


STRANGE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 7, 64, 10**30, 1.5, -0.0, 1e300),
    *("", "x", "fp8", "float16", "a\nb", "\ud800", "\x1b[2J", "noaux_tc"),
    *([], [0], [-1], [None], [[1]], ["sliding_attention", "full_attention"], ["chunked_attention"] * 2),
    *({}, {"quant_method": "fp8"}, {"quant_method": "gptq", "bits": 4}, {"quant_method": None, "ignore": [1]}),
    {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 8}, "targets": ["re:["]}}},
]
SMALL = {"hidden_size": 64, "vocab_size": 96, "max_position_embeddings": 256, "num_attention_heads": 4}
MIXTURE = {"intermediate_size": 48, "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 40}
HYBRIDS: list[dict[str, Any]] = [
    {"model_type": "jamba", **SMALL, **MIXTURE, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4},
    {"model_type": "granitemoehybrid", **SMALL, **MIXTURE, "mamba_n_heads": 8, "mamba_d_state": 16}
    | {"layers_block_type": ["mamba", "attention"], "mamba_d_head": 16, "mamba_expand": 2},
    {"model_type": "dbrx", "d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 256, "vocab_size": 96}
    | {"attn_config": {"kv_n_heads": 2}, "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2}},
]
PACKAGED = [dict(text_part(load_model_config(model.name)[0])[0]) for model in packaged_models()] + HYBRIDS
KEYS = sorted({key for config in PACKAGED for key in config} - {"num_hidden_layers"})


@settings(deadline=None)
@given(
    config=st.sampled_from(PACKAGED),
    changed=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(STRANGE), max_size=3),
)
def test_any_change_of_a_config_is_read_or_refused_in_one_line(config: dict[str, Any], changed: dict[str, Any]) -> None:
    short = config | {"num_hidden_layers": 2, "layer_types": None} | changed
    for shown in (short, {"model_type": "wrapper", "text_config": short} | changed):
        try:
            assert isinstance(read_model(shown, "changed"), ModelSpec)
        except MoecapError as error:
            one_line(error)


@given(content=st.binary(max_size=40) | st.sampled_from(STRANGE).map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_object_or_refused_in_one_line(content: bytes) -> None:
    try:
        assert isinstance(parse_config(content, "'config.json'"), dict)
    except BadInputError as error:
        one_line(error)


def response(status: int) -> Any:
    return SimpleNamespace(status_code=status, headers={}, request=None)


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (
            lambda: hub_errors.RepositoryNotFoundError("x\ny", response=response(404)),
            UnknownNameError,
            "no such public",
        ),
        (lambda: hub_errors.HFValidationError("x\ny"), UnknownNameError, "the hub has no such public model"),
        (lambda: hub_errors.GatedRepoError("x\ny", response=response(403)), NotAvailableError, "is gated"),
        (lambda: hub_errors.RevisionNotFoundError("x", response=response(404)), NotAvailableError, "no revision 'v9'"),
        (lambda: hub_errors.LocalEntryNotFoundError("x\ny"), NotAvailableError, "the hub cannot be reached"),
        (lambda: hub_errors.EntryNotFoundError("x\ny"), NotAvailableError, "has no config.json on the hub"),
        (lambda: ConnectionResetError("x\ny"), NotAvailableError, "(ConnectionResetError)"),
    ],
)
def test_what_the_hub_refuses(
    raised: Any, kind: type[UsageError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise raised()

    monkeypatch.setattr(hub, "reaches", lambda _: True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(kind) as caught:
        load_model_config("org/name", "v9")
    assert message in one_line(caught.value)


def test_the_hub_gives_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MIXTRAL), encoding="utf-8")
    asked: list[tuple[Any, ...]] = []

    def give(hub_id: str, file: str, revision: str | None, local_files_only: bool) -> str:
        asked.append((hub_id, file, revision, local_files_only))
        return str(tmp_path / file)

    monkeypatch.setattr(hub, "reaches", lambda _: True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", give)
    config, ref = load_model_config("org/name")
    assert (config, ref.origin, ref.id) == (MIXTRAL, "hub", "org/name")
    load_model_config("mixtral", "v2")
    assert asked == [
        ("org/name", "config.json", None, False),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "config.json", "v2", False),
    ]


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[str] = []

    class Silent:
        def head(self, url: str, timeout: float) -> None:
            calls.append(url)
            raise OSError("no route")

    monkeypatch.setattr(huggingface_hub, "get_session", Silent)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotAvailableError, match="not in the local cache and the hub cannot be reached"):
        load_model_config("org/name")
    assert calls == ["https://huggingface.co/org/name/resolve/main/config.json"]


def test_importing_the_accounting_loads_nothing_heavy() -> None:
    code = (
        "import sys, moecap.models.summary, moecap.models.registry, moecap.cli.models\n"
        "print([m for m in ('torch', 'transformers', 'huggingface_hub', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["./none", "/nowhere/none", "~/none", "~nobody-here/none", "a/b/none", "none.json"])
def test_a_path_that_does_not_exist_is_called_a_missing_folder_and_no_hub_id(name: str) -> None:
    with pytest.raises(BadInputError, match=r"there is no folder or file '.*none.*'; check the path"):
        load_model_config(name)


def test_what_may_be_a_folder_or_a_hub_id_is_called_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "reaches", lambda _: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotAvailableError, match="there is no folder 'w/none', and the model 'w/none' is not in the"):
        load_model_config("w/none")
    with pytest.raises(NotAvailableError, match=r"^the model 'org/none' is not in the local cache"):
        load_model_config("org/none")
