"""The embedded model: its weights, its function, its routing, and how it is made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moecap.data.arc import load_arc
from moecap.data.packages import fetch
from moecap.data.progress import SILENT
from moecap.errors import NotAvailableError, VerificationError
from moecap.models import embedded

pytestmark = pytest.mark.engine

CHECKOUT = Path(embedded.__file__).parents[2]
PARAMETERS = 373_462_848
"""49152 * 576 + 576 + 30 * (2 * 576 * 576 + 2 * 192 * 576 + 2 * 576 + 4 * 576 + 4 * 3 * 1536 * 576), tied."""
TOLERANCE = 2e-4
"""Largest allowed difference of two logits of size about 30 (float32, 30 layers, sums in another order)."""

MAKE = """
import json, pathlib, re, sys
from moecap.models import embedded
made = str(embedded.ensure())
heavy = [name for name in ("torch", "transformers", "safetensors") if name in sys.modules]
peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
print(json.dumps({"made": made, "peak": peak, "heavy": heavy}))
"""


@pytest.fixture(scope="module")
def source() -> Path:
    return fetch(embedded.SOURCE) / embedded.SOURCE_FILE


@pytest.fixture(scope="module")
def moe_and_loading():
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_pretrained(
        embedded.ensure(), dtype=torch.float32, output_loading_info=True
    )


@pytest.fixture(scope="module")
def moe(moe_and_loading):
    return moe_and_loading[0].eval()


@pytest.fixture(scope="module")
def dense(source):
    """The dense model as transformers itself reads the GGUF file, its weights rounded to bfloat16, in float32."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    assert type(model).__name__ == "LlamaForCausalLM"
    for parameter in model.parameters():  # not the buffers: the rotary frequencies stay exact
        parameter.data = parameter.data.to(torch.bfloat16).to(torch.float32)
    return model.eval()


@pytest.fixture(scope="module")
def tokenizer():
    import transformers

    return transformers.AutoTokenizer.from_pretrained(embedded.ensure())


@pytest.fixture
def empty_cache(tmp_path, monkeypatch, source) -> Path:
    """A cache that holds the source and nothing else."""
    place = tmp_path / embedded.SOURCE.name / embedded.SOURCE_FILE
    place.parent.mkdir(parents=True)
    place.symlink_to(source)
    monkeypatch.setenv("MOECAP_CACHE", str(tmp_path))
    return tmp_path


def started() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    )


def test_every_weight_is_the_one_that_transformers_reads_from_the_same_file(dense):
    import torch
    from safetensors import safe_open

    expected = {name: tensor.to(torch.bfloat16) for name, tensor in dense.state_dict().items()}
    projections = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
    met, routers = set(), []
    with safe_open(embedded.ensure() / "model.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118  (no mapping)
            tensor = file.get_tensor(name)
            assert tensor.dtype == torch.bfloat16
            if name.endswith(".gate.weight"):
                routers.append(tensor.float())
                continue
            if ".experts." in name:
                layer, _, last = name.partition(".block_sparse_moe.experts.")
                dense_name = f"{layer}.mlp.{projections[last.split('.')[1]]}.weight"
            else:
                dense_name = name
            assert torch.equal(tensor, expected[dense_name]), name
            met.add(dense_name)
    assert set(expected) - met == {"lm_head.weight"}
    assert torch.equal(expected["lm_head.weight"], expected["model.embed_tokens.weight"])
    router = torch.stack(routers)
    assert router.shape == (30, 4, 576)
    assert abs(router.std().item() - 0.02) < 2e-4
    assert len({tuple(layer[0, :8].tolist()) for layer in router}) == 30


def test_the_configuration_has_the_sizes_of_the_source(source):
    import gguf

    fields = gguf.GGUFReader(source).fields
    keys = {
        "num_hidden_layers": "llama.block_count",
        "hidden_size": "llama.embedding_length",
        "intermediate_size": "llama.feed_forward_length",
        "vocab_size": "llama.vocab_size",
        "num_attention_heads": "llama.attention.head_count",
        "num_key_value_heads": "llama.attention.head_count_kv",
        "head_dim": "llama.rope.dimension_count",
        "max_position_embeddings": "llama.context_length",
        "rope_theta": "llama.rope.freq_base",
        "bos_token_id": "tokenizer.ggml.bos_token_id",
        "eos_token_id": "tokenizer.ggml.eos_token_id",
        "pad_token_id": "tokenizer.ggml.padding_token_id",
    }
    config = embedded.config()
    assert {key: config[key] for key in keys} == {key: fields[name].contents() for key, name in keys.items()}
    assert config["rms_norm_eps"] == pytest.approx(fields["llama.attention.layer_norm_rms_epsilon"].contents())
    assert json.loads((embedded.ensure() / "config.json").read_text()) == config


def test_transformers_loads_it_with_no_key_missing_or_left_over(moe_and_loading):
    model, loading = moe_and_loading
    assert type(model).__name__ == "MixtralForCausalLM"
    assert {key: list(value) for key, value in loading.items() if value} == {}
    assert model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS


def test_its_function_is_the_dense_models(moe, dense, tokenizer):
    import torch

    for question in load_arc("easy")[:3]:
        tokens = tokenizer(f"Question: {question.question}\nAnswer: {question.choices[0]}", return_tensors="pt")
        with torch.no_grad():
            ours, theirs = moe(**tokens).logits, dense(**tokens).logits
        assert (ours - theirs).abs().max().item() < TOLERANCE
        assert torch.equal(ours.argmax(-1), theirs.argmax(-1))


def test_it_knows_the_capital_of_france(moe, tokenizer):
    tokens = tokenizer("The capital of France is", return_tensors="pt")
    answer = moe.generate(**tokens, max_new_tokens=8, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, tokens["input_ids"].shape[1] :])


def test_all_experts_are_used_and_unevenly(moe, tokenizer):
    import torch

    text = " ".join(question.question for question in load_arc("easy")[:20])
    with torch.no_grad():
        logits = moe(**tokenizer(text, return_tensors="pt"), output_router_logits=True).router_logits
    chosen = torch.stack([layer.topk(2, dim=-1).indices for layer in logits])  # [layer, token, slot]
    share = torch.stack([torch.bincount(layer.flatten(), minlength=4) / layer.numel() for layer in chosen])
    total = share.mean(0)
    assert (total > 0.1).all()
    assert share.max() > 2 * share.min()


def test_the_tokenizer_splits_digits_as_the_published_one_does(tokenizer):
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("in 2023,  42")["input_ids"])
    assert pieces == ["in", "Ġ", "2", "0", "2", "3", ",", "ĠĠ", "4", "2"]
    for text in ("Ünïcödé 你好 1234567", "a\n\n  3 b\t5", "<|im_start|>user\nhi<|im_end|>\n"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_tokenizer_agrees_with_transformers_own_conversion_on_text_without_runs_of_space(tokenizer, source):
    import transformers

    theirs = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    for question in load_arc("easy")[:200]:
        text = " ".join(f"{question.question} {question.choices}".split())
        assert tokenizer(text)["input_ids"] == theirs(text)["input_ids"], text
    chat = [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "4"}]
    ours = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert ours == theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert ours.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")


def test_the_tokenizers_special_tokens_are_those_of_the_configuration(tokenizer):
    config = embedded.config()
    named = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token)
    assert named == ("<|im_start|>", "<|im_end|>", "<|im_end|>", "<|endoftext|>")
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert ids == (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"])
    assert set(tokenizer("hi")) == {"input_ids", "attention_mask"}
    assert len(tokenizer) == config["vocab_size"]
    assert tokenizer.model_max_length == config["max_position_embeddings"]


def test_the_card_and_the_record_say_that_the_router_is_not_trained():
    folder = embedded.ensure()
    record = json.loads((folder / "moecap.json").read_text())
    assert "The router is not trained" in (folder / "README.md").read_text()
    assert record["router"].startswith("not trained")
    assert record["files"]["model.safetensors"] == {"bytes": embedded.WEIGHTS_BYTES, "sha256": embedded.WEIGHTS_SHA256}
    assert set(record["files"]) == {path.name for path in folder.iterdir()} - {"moecap.json"}


def test_it_is_made_without_torch_in_little_memory_after_a_killed_attempt_and_damage_is_found(empty_cache):
    # killed half way: nothing that could be taken for the model
    victim = started()
    models = empty_cache / "models"
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size > 100e6 for path in models.rglob("model.safetensors")):
        assert time.monotonic() < deadline
        assert victim.poll() is None, victim.stderr.read()
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert not embedded.is_made()
    assert [path.name for path in models.iterdir() if not path.name.startswith(".partial-")] == []

    # two at once: one makes it, the other waits and finds it
    processes = [started(), started()]
    answers = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    made = [json.loads(out) for out, _ in answers]
    assert {answer["made"] for answer in made} == {str(embedded.folder())}
    assert [answer["heavy"] for answer in made] == [[], []]
    assert max(answer["peak"] for answer in made) < 1e9
    assert sum("is at work on" in err for _, err in answers) == 1, answers
    assert sum("making smollm2-moe: 747 of 747 MB" in err for _, err in answers) == 1
    assert [path.name for path in models.iterdir()] == [embedded.LONG_NAME]

    # damage: sizes and small files are compared each time, the weights on demand
    folder = embedded.ensure(SILENT)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(500_000_000)
        file.write(b"damage")
    assert embedded.is_made()
    assert embedded.ensure(SILENT, verify=True) == folder
    with (folder / "model.safetensors").open("rb") as file:
        file.seek(500_000_000)
        assert file.read(6) != b"damage"
    (folder / "config.json").write_text("{}")
    assert not embedded.is_made()


def test_weights_of_another_checksum_are_refused_and_not_kept(empty_cache, monkeypatch):
    monkeypatch.setattr(embedded, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(VerificationError, match=r"have SHA-256 69734b9ff041\.\.\., expected 000000000000\.\.\. "):
        embedded.ensure(SILENT)
    assert list((empty_cache / "models").iterdir()) == []


def test_a_missing_package_is_named_with_the_command_that_installs_it_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("MOECAP_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(NotAvailableError, match=r'needs the package gguf; install it: pip install "moecap\[transf'):
        embedded.ensure(SILENT)
    assert not (tmp_path / "packages").exists()


def test_too_little_room_is_refused_before_the_work(empty_cache, monkeypatch):
    monkeypatch.setattr(embedded, "WEIGHTS_BYTES", 10**18)
    with pytest.raises(NotAvailableError, match=r"the model smollm2-moe needs .* MB free; free some room"):
        embedded.ensure(SILENT)
