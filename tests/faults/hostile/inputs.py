"""Readers of models, of settings and of hardware."""

from __future__ import annotations

from pathlib import Path

from hostile.parser import TESTS, Parser, as_json


def models() -> list[Parser]:
    from importlib import resources

    from moecap.chat_template import ChatTemplate
    from moecap.models.adapter import adapter_config
    from moecap.models.registry import load_model

    configs = resources.files("moecap.models").joinpath("configs")
    examples = tuple(
        configs.joinpath(f"{name}.json").read_bytes()
        for name in ("mixtral-8x7b", "deepseek-v3", "qwen3-30b-a3b", "gpt-oss-120b")
        if configs.joinpath(f"{name}.json").is_file()
    )
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] | tojson }}{% endfor %}{{ bos_token }}"
    tokenizer = {"chat_template": template, "bos_token": {"content": "<s>"}, "eos_token": "</s>"}
    named = tokenizer | {"chat_template": [{"name": "default", "template": template}]}
    adapter = {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj", "v_proj"], "bias": "none"}

    def chat(path: Path) -> object:
        found = ChatTemplate.read(path.parent)
        return found.render([("user", "hello"), ("assistant", "yes")]) if found is not None else None

    return [
        Parser("model-config", "model/config.json", lambda path: load_model(str(path.parent)), examples),
        Parser("tokenizer-config", "model/tokenizer_config.json", chat, (as_json(tokenizer), as_json(named))),
        Parser("chat-template", "model/chat_template.jinja", chat, (template.encode(),)),
        Parser("adapter", "lora/adapter_config.json", lambda path: adapter_config(path.parent), (as_json(adapter),)),
    ]


_RUN = b"""model: mixtral
hw: a100
concurrency: 4
num-requests: 20
task: none
warmup: {max-batches: 2}
cost: &c {usd_per_hour: 1.5}
"""
_SWEEP = b"""model: mixtral
task: none
num_requests: 400
output: sweeps/one
grid:
  hw: [a100, h100]
  concurrency: [1, 8, 32]
  input_len,output_len: [[1024, 256], [8192, 128]]
exclude:
  - {hw: a100, concurrency: 32}
"""
_LAYOUT = b"""hardware: rtx-a5000
experts: dram
hit_rate: 0.2
cpu_share: 0
prefill: {hit_rate: 0.1}
tiers:
  link: {kind: pcie4-x16}
  dram: {kind: ddr4-3200, units: 8, memory_bytes: 512.0e+9}
cost: {board_usd: 800, dram_usd: 1500, ssd_usd: 200}
"""
_PUBLISHED_POINT = {
    "id": "p1",
    "model": "mixtral-8x7b",
    "hw_id": "h100-sxm",
    "gpus": 2,
    "engine": "vllm",
    "precision": "fp8",
    "parallel": "tp2",
    "isl": 128,
    "osl": 128,
    "concurrency": 16,
    "metric": "output_throughput",
    "value": 2000.0,
}


def settings() -> list[Parser]:
    from moecap.hardware.probe import read_probe
    from moecap.hardware.registry import load_profile
    from moecap.metrics.memory_layout import read_layout
    from moecap.options_file import read_options_file
    from moecap.projection.points import read_points, resolve
    from moecap.settings import with_settings
    from moecap.sweep.grid import read_sweep

    profiles = TESTS.parent / "hardware_profiles"
    hardware = tuple((profiles / f"{name}.yaml").read_bytes() for name in ("a100-sxm4-80gb", "h100-sxm"))
    return [
        Parser("hardware-profile", "device.yaml", load_profile, hardware),
        Parser("layout", "layout.yaml", read_layout, (_LAYOUT,)),
        Parser(
            "run-configuration",
            "run.yaml",
            lambda path: with_settings(read_options_file(path), ()).model_dump_json(),
            (_RUN,),
        ),
        Parser("sweep", "sweep.yaml", read_sweep, (_SWEEP,)),
        Parser(
            "points",
            "points.json",
            lambda path: [resolve(row) for row in read_points(path)],
            (as_json({"points": [_PUBLISHED_POINT]}), as_json([_PUBLISHED_POINT])),
        ),
        Parser("probe", "probe.json", read_probe, (b"{}",)),
    ]
