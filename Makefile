# Everything a user or a machine does here. Nothing needed beforehand but Python >= 3.10 and make.
PYTHON ?= python3
# Another build of PyTorch, for a certain GPU or for none: make demo TORCH="torch --index-url URL", URL from pytorch.org.
TORCH ?= torch
BIN := .venv/bin
# Tests of one file share what they set up; more processes than these want more memory than they save time.
SPREAD := -n auto --maxprocesses 4 --dist loadfile
EXPORTS := .venv-export/exports
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo demo-gpt test test-all test-export test-gpu bench-gpu check docs bench studies env clean

help:
	@echo "make demo      train, evaluate, draw and export on the bundled spoken digits (minutes)"
	@echo "make demo-gpt  train a small SpikeGPT with learned delays on tiny Shakespeare and have it write (minutes)"
	@echo "make test      lint, types, layers, tests, docs"
	@echo "make test-all  the same with the long tests; prints the coverage"
	@echo "make test-export  the demo's networks in Brian2, NEST, PyNN, Lava, C and Verilog, spike for spike (half an hour)"
	@echo "make check     linters and types alone      make docs   the documentation, into site/"
	@echo "make bench     our layers against the packages they replace, timed side by side"
	@echo "make test-gpu  every GPU kernel against its contract, captured, under compute-sanitizer (under ten minutes)"
	@echo "make bench-gpu every case of the benchmark on the GPU, the most telling first (under ten minutes)"
	@echo "make studies   the studies behind the documents' tables and pictures; finished ones are skipped (minutes)"
	@echo "make env       the environment with what tests, linters and documents need"
	@echo "make clean     remove the environment and what was built (runs/ stays)"

.venv/.installed: pyproject.toml constraints.txt
	@echo "creating the environment in .venv"
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and \"snn_delays needs Python 3.10 or newer\")"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) install --upgrade pip
	@$(PIP) install -c constraints.txt $(TORCH)
	@$(PIP) install -c constraints.txt --editable ".[tonic]"
	@touch $@

# The peers of the tests ask for torchvision, which they do not use here and which not every torch has a build for.
.venv/.tested: .venv/.installed
	@echo "adding what the tests need"
	@$(PIP) install -c constraints.txt --editable ".[tonic,test,lint,docs]"
	@$(PIP) install -c constraints.txt --no-deps "spikingjelly; python_version >= '3.11'" norse nirtorch
	@touch $@

env: .venv/.tested

demo: .venv/.installed
	@$(BIN)/snn-delays demo

demo-gpt: .venv/.installed
	@$(BIN)/snn-delays demo-gpt

check: .venv/.tested
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: .venv/.tested
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test: check docs
	@$(BIN)/pytest -m "not slow" $(SPREAD)

test-all: check docs
	@$(BIN)/pytest $(SPREAD) --cov --cov-report=term

# Each simulator in an environment of its own; what was made is kept, so a second time is quicker.
test-export: .venv/.tested
	@rm -rf $(EXPORTS)
	@$(BIN)/python -m tests.simulators.cases $(EXPORTS)/cases
	@$(BIN)/python -m tests.simulators.demo .venv-export/runs $(EXPORTS)
	@$(BIN)/python -m tests.simulators.run $(EXPORTS) --write docs/export.md

# Options go into BENCH: make bench BENCH="--only 'delay-*' --repeats 15".
bench: .venv/.tested
	@$(BIN)/python -m experiments.benchmarks $(BENCH)

# With torch, CuPy, Numba CUDA and pytest at hand: make test-gpu GPU_PYTHON=python3 uses an environment that is there.
GPU_PYTHON ?= $(BIN)/python
test-gpu:
	@$(GPU_PYTHON) -m experiments.gpu_checks --write docs/gpu.md

# No case begins after eight minutes: the last one needs some, too.
bench-gpu:
	@$(GPU_PYTHON) -m experiments.benchmarks --device cuda --minutes 8 --out runs/bench-gpu.json --write docs/gpu.md $(BENCH)

studies: .venv/.tested
	@$(BIN)/python -m experiments.studies

clean:
	rm -rf .venv .venv-export site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
