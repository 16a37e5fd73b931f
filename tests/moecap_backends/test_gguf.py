"""GGUF files made from checkpoints: names, bytes and values, against the gguf package's own reader and by hand."""

import json
import shutil
import struct

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import load_file

from moecap.data.progress import SILENT
from moecap.errors import BadInputError, NotBuiltError
from moecap.models.accounting import checkpoint_bytes
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model
from moecap_backends.gguf_files.export import cached_gguf, check_convertible, write_gguf
from moecap_backends.gguf_files.file import check_gguf, gguf_files, matrix_format, precision_of, tensor_bytes
from moecap_backends.gguf_files.header import read_tensors

FAMILIES = ("mixtral", "qwen3_moe", "olmoe", "dense")
PRECISIONS = ("fp32", "fp16", "bf16", "q8_0")
WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "Q8_0": 34 / 32}


@pytest.fixture(scope="module")
def written(ascii_model, tmp_path_factory):
    """A function from family and precision to the checkpoint and its GGUF file, made once."""
    made = {}

    def make(family, precision):
        key = family, precision
        if key not in made:
            path = tmp_path_factory.mktemp("gguf") / f"{family}-{precision}.gguf"
            write_gguf(ascii_model(family), path, precision)
            made[key] = ascii_model(family), path
        return made[key]

    return make


def _spec(folder, precision):
    return read_model(read_config_file(folder / "config.json"), folder.name, weights=f"gguf-{precision}", kv="fp16")


def _values(path):
    return {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_bytes_that_a_run_counts_are_those_in_the_file(written, family, precision):
    folder, path = written(family, precision)
    stored = GGUFReader(path).tensors
    assert sum(int(t.n_bytes) for t in stored) == checkpoint_bytes(_spec(folder, precision))
    for tensor in stored:
        assert tensor.n_bytes == tensor.n_elements * WIDTHS[tensor.tensor_type.name]
        plain = len(tensor.shape) == 1 or "ffn_gate_inp" in tensor.name
        assert (tensor.tensor_type.name == "F32") == (plain or precision == "fp32")


def test_the_bytes_of_each_class_are_those_of_its_tensors(written):
    """Router and norms in fp32, an expert in blocks of 34 bytes, by hand."""
    folder, path = written("mixtral", "q8_0")
    layer = _spec(folder, "q8_0").layers[0]
    sizes = {t.name.removeprefix("blk.0."): int(t.n_bytes) for t in GGUFReader(path).tensors if "blk.0." in t.name}
    assert layer.ffn.router.bytes == sizes["ffn_gate_inp.weight"] == 8 * 64 * 4
    experts = sum(sizes[f"ffn_{name}_exps.weight"] for name in ("gate", "up", "down"))
    assert 8 * sum(m.bytes for m in layer.ffn.expert_matrices) == experts == 8 * 3 * 64 * 64 // 32 * 34
    attention = sum(sizes[f"attn_{name}.weight"] for name in ("q", "k", "v", "output"))
    assert sum(m.bytes for m in layer.attention.matrices) == attention
    assert layer.norm_params * 4 == sizes["attn_norm.weight"] + sizes["ffn_norm.weight"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_header_is_read_as_the_gguf_package_reads_it(written, family):
    _, path = written(family, "q8_0")
    ours = {t.name: (t.shape, t.kind, t.bytes) for t in read_tensors(path)}
    theirs = {
        t.name: (tuple(int(n) for n in t.shape[::-1]), t.tensor_type.name, int(t.n_bytes))
        for t in GGUFReader(path).tensors
    }
    assert ours == theirs
    assert matrix_format(read_tensors(path), path.name) == "q8_0"
    assert tensor_bytes(read_tensors(path)) == sum(size for _, _, size in theirs.values())


def test_values_are_those_of_the_checkpoint_with_the_experts_of_a_layer_in_one_tensor(written):
    folder, path = written("mixtral", "fp32")
    stored, values = load_file(folder / "model.safetensors"), _values(path)
    prefix = "model.layers.1.block_sparse_moe."
    for short, name in (("w1", "gate"), ("w2", "down"), ("w3", "up")):
        for expert in range(8):
            own = stored[f"{prefix}experts.{expert}.{short}.weight"]
            assert np.array_equal(values[f"blk.1.ffn_{name}_exps.weight"][expert], own)
    assert np.array_equal(values["blk.1.ffn_gate_inp.weight"], stored[f"{prefix}gate.weight"])
    assert np.array_equal(values["output.weight"], stored["lm_head.weight"])


def test_rows_of_queries_and_keys_are_paired_for_llama_and_kept_for_the_others(written):
    """Row r of a half and row r of the other half stand side by side: 0, 16, 1, 17, ... in a head of 32."""
    folder, path = written("mixtral", "fp32")
    own = load_file(folder / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    order = [head * 32 + half * 16 + row for head in range(2) for row in range(16) for half in range(2)]
    assert np.array_equal(_values(path)["blk.0.attn_q.weight"], own[order])
    folder, path = written("qwen3_moe", "fp32")
    own = load_file(folder / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    assert np.array_equal(_values(path)["blk.0.attn_q.weight"], own)


def test_a_block_of_q8_0_holds_its_largest_weight_exactly_scaled(written):
    """The scale is the largest magnitude of 32 weights over 127, in fp16; weights are rounded to its multiples."""
    folder, path = written("mixtral", "q8_0")
    own = load_file(folder / "model.safetensors")["model.layers.0.self_attn.v_proj.weight"].reshape(-1, 32)
    got = _values(path)["blk.0.attn_v.weight"].reshape(-1, 32)
    scale = (np.abs(own).max(1, keepdims=True) / 127).astype(np.float16).astype(np.float32)
    assert (np.abs(got - own) <= scale * 0.5001 + np.abs(own) * 2**-10).all()
    assert np.allclose(got / scale, np.round(got / scale), atol=1e-3)


def test_bf16_weights_are_kept_bit_for_bit(ascii_model, tmp_path):
    """The checkpoint rounded to bf16 by torch, written as bf16, is that checkpoint again."""
    import torch
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file

    folder = tmp_path / "rounded"
    shutil.copytree(ascii_model("mixtral"), folder)
    rounded = {k: v.to(torch.bfloat16) for k, v in load_torch(folder / "model.safetensors").items()}
    save_file(rounded, folder / "model.safetensors", metadata={"format": "pt"})
    write_gguf(folder, tmp_path / "m.gguf", "bf16")
    embedding = rounded["model.embed_tokens.weight"].float().numpy()
    assert np.array_equal(_values(tmp_path / "m.gguf")["token_embd.weight"], embedding)


def test_a_file_is_made_once_and_anew_when_the_checkpoint_changes(ascii_model, tmp_path, monkeypatch):
    monkeypatch.setenv("MOECAP_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    shutil.copytree(ascii_model("mixtral"), folder)
    first = cached_gguf(folder, "q8_0", SILENT)
    made = first.stat().st_mtime_ns
    assert cached_gguf(folder, "q8_0", SILENT) == first
    assert first.stat().st_mtime_ns == made
    assert cached_gguf(folder, "fp16", SILENT) != first
    first.write_bytes(first.read_bytes()[:1000])
    assert cached_gguf(folder, "q8_0", SILENT).stat().st_size > 1000
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-4}))
    assert cached_gguf(folder, "q8_0", SILENT) != first


@pytest.mark.parametrize(
    ("family", "change", "problem"),
    [
        ("mixtral", {"model_type": "jetmoe"}, "type 'jetmoe' cannot be converted to GGUF yet"),
        ("mixtral", {"rope_parameters": {"rope_theta": 1e4, "rope_type": "yarn"}}, "rope scaling is not what"),
        ("mixtral", {"sliding_window": 128}, "sliding_window is not what llama.cpp's graph computes"),
        ("mixtral", {"quantization_config": {"quant_method": "fp8"}}, "quantization_config is not what"),
        ("qwen3_moe", {"norm_topk_prob": False}, "norm_topk_prob is not what"),
        ("qwen3_moe", {"mlp_only_layers": [1]}, "mlp_only_layers is not what"),
        ("olmoe", {"norm_topk_prob": True}, "norm_topk_prob is not what"),
        ("olmoe", {"clip_qkv": 8.0}, "clip_qkv is not what"),
    ],
)
def test_a_model_that_llama_cpp_would_compute_otherwise_is_refused(ascii_model, tmp_path, family, change, problem):
    folder = tmp_path / "changed"
    shutil.copytree(ascii_model(family), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(NotBuiltError, match=problem):
        check_convertible(folder, "fp32")


@pytest.mark.parametrize("key", ["rope_parameters", "rms_norm_eps", "num_experts_per_tok"])
def test_what_a_configuration_does_not_say_is_not_made_up(ascii_model, tmp_path, key):
    """Each family has defaults of its own: Mixtral's rotary base is 1e6, Llama's 1e4."""
    folder = tmp_path / "short"
    shutil.copytree(ascii_model("mixtral"), folder)
    config = json.loads((folder / "config.json").read_text())
    del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    said = "rope_theta" if key == "rope_parameters" else key
    with pytest.raises(BadInputError, match=f"config.json does not say {said} of this mixtral model; add what"):
        check_convertible(folder, "fp32")


def test_the_rotary_frequencies_that_older_checkpoints_hold_are_left_out(ascii_model, tmp_path):
    """llama.cpp computes them, and refuses a file with a tensor that its graph does not have."""
    from safetensors.numpy import save_file

    folder = tmp_path / "older"
    shutil.copytree(ascii_model("dense"), folder)
    stored = load_file(folder / "model.safetensors")
    stored["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
    save_file(stored, folder / "model.safetensors")
    write_gguf(folder, tmp_path / "m.gguf", "fp32")
    assert not [t.name for t in GGUFReader(tmp_path / "m.gguf").tensors if "rot" in t.name]


def test_rows_that_are_no_whole_blocks_are_refused_in_q8_0_alone(tiny_model):
    folder = tiny_model("mixtral")  # experts of 48
    check_convertible(folder, "fp16")
    with pytest.raises(NotBuiltError, match="rows of 48 weights, which are no whole blocks of 32"):
        check_convertible(folder, "q8_0")


def test_a_checkpoint_without_one_of_its_experts_is_refused(ascii_model, tmp_path):
    from safetensors.numpy import save_file

    folder = tmp_path / "holed"
    shutil.copytree(ascii_model("mixtral"), folder)
    stored = load_file(folder / "model.safetensors")
    del stored["model.layers.2.block_sparse_moe.experts.5.w2.weight"]
    save_file(stored, folder / "model.safetensors")
    with pytest.raises(BadInputError, match=r"blk.2.ffn_down_exps.weight needs 8 experts, 7 are there"):
        check_convertible(folder, "fp32")


def test_a_users_file_is_taken_if_it_is_the_model_in_the_format_that_is_counted(written):
    folder, path = written("mixtral", "q8_0")
    check_gguf(path, _spec(folder, "q8_0"))
    with pytest.raises(BadInputError, match="holds its matrices in q8_0 and the run counts fp16; say --precision q8_0"):
        check_gguf(path, _spec(folder, "fp16"))
    other = written("olmoe", "q8_0")[1]
    with pytest.raises(BadInputError, match="bytes of weights, tiny-mixtral has"):
        check_gguf(other, _spec(folder, "q8_0"))


def test_a_file_in_several_formats_is_refused(tmp_path):
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    writer = GGUFWriter(tmp_path / "mixed.gguf", "llama")
    rows = np.zeros((4, 32), np.float32)
    for name, kind in (("a.weight", GGMLQuantizationType.Q8_0), ("b.weight", GGMLQuantizationType.Q4_0)):
        writer.add_tensor(name, quants.quantize(rows, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(NotBuiltError, match="holds matrices in Q8_0, Q4_0; a run counts files with all of them in one"):
        matrix_format(read_tensors(tmp_path / "mixed.gguf"), "mixed.gguf")


def _setting(name, kind, value):
    """The number of settings, which is one, and that one."""
    return struct.pack("<QQ", 1, len(name)) + name.encode() + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda b: b[:-64], "damaged GGUF file .*bytes where its list of tensors says"),
        (lambda b: b[:200], "damaged GGUF file"),
        (lambda b: b"PK" + b[2:], "not a GGUF file"),
        (lambda b: b[:8] + b"\xff" * 8 + b[16:], "damaged GGUF file .a length of"),
        (lambda b: b[:4] + b"\x63\0\0\0" + b[8:], "damaged GGUF file .version 99"),
        (lambda b: b[:8] + bytes(8) + _setting("general.alignment", 4, bytes(4)), "damaged GGUF file .* by zero"),
        (lambda b: b[:16] + _setting("x", 9, struct.pack("<IQ", 9, 1) * 5000), "damaged GGUF file .*recursion"),
    ],
)
def test_a_damaged_file_is_one_line(written, tmp_path, damage, problem):
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damage(written("mixtral", "q8_0")[1].read_bytes()))
    with pytest.raises(BadInputError, match=problem):
        read_tensors(path)
    with pytest.raises(BadInputError, match="cannot be read"):
        read_tensors(tmp_path / "nothing.gguf")


def test_the_files_of_a_folder_are_found_without_the_later_parts_of_split_ones(tmp_path):
    parts = [f"c-{i:05}-of-00012.gguf" for i in range(1, 13)]
    for name in ("mixture-of-experts.gguf", "a.gguf", *parts, "d.bin"):
        (tmp_path / name).touch()
    assert [p.name for p in gguf_files(tmp_path)] == ["a.gguf", parts[0], "mixture-of-experts.gguf"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_format_of_a_specification_is_found_again(ascii_model, precision):
    assert precision_of(_spec(ascii_model("mixtral"), precision)) == precision
