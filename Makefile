# Malan. `make demo` shows it, `make test` checks it, `make bench` measures it; `make help` lists the rest.

PYTHON    ?= python3
WORKSPACE ?= demo-workspace
FOOTAGE   ?=
SERVE     ?= 1
PORT      ?= 8600
BIN       := .venv/bin
BUILT     := src/malan/web/static/built/.built

.DEFAULT_GOAL := help
.PHONY: help setup frontend demo test test-train lint bench lock reference format clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: .venv/.base  ## .venv with all that malan needs to run

demo: .venv/.base $(BUILT)  ## footage → shots → search in the browser (FOOTAGE=~/Videos, SERVE=0, WORKSPACE=dir, PORT=8600)
	@tools/system.sh demo
	@$(BIN)/malan demo --workspace "$(WORKSPACE)" $(if $(FOOTAGE),--footage "$(FOOTAGE)") \
	  $(if $(filter 0,$(SERVE)),--no-serve) --port $(PORT)

test: .venv/.dev $(BUILT)  ## style, types, layers and the whole suite
	@tools/system.sh test
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy && $(BIN)/python tools/algorithms.py
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST)

test-train: .venv-train/.ready  ## the recipes that need torch (CPU build), in an environment of their own
	@tools/system.sh train
	@.venv-train/bin/python tools/algorithms.py
	@.venv-train/bin/python -m pytest tests/training/algorithms tests/training/loader/test_dataset.py tests/inference/diffusion tests/inference/conformance $(PYTEST)

lint: .venv/.dev  ## style and types only
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

format: .venv/.dev  ## put the code in order
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: .venv/.dev .venv/.bench .venv-peers/.ready  ## every figure with its peer and its physical limit (BENCH="shots scan")
	@tools/system.sh bench
	@MALAN_BENCH_PYTHON=.venv-peers/bin/python $(BIN)/python bench/run.py $(BENCH)

frontend: $(BUILT)  ## the console's scripts and styles

reference: .venv/.dev  ## write docs/reference from the code
	@$(BIN)/python tools/reference.py

lock: .venv/.dev  ## choose versions anew: requirements/*.lock
	@$(BIN)/python tools/lock.py

clean:  ## what was built and the demo; not .venv
	rm -rf demo-workspace src/malan/web/static/built frontend/node_modules .pytest_cache .ruff_cache .mypy_cache

.venv/bin/python:
	@tools/system.sh setup
	@$(PYTHON) -m venv .venv

.venv/.base: requirements/base.lock pyproject.toml | .venv/bin/python
	@echo "Installing what malan needs (about 700 MB on disk) …"
	@$(BIN)/python -m pip install --quiet --no-deps -r requirements/base.lock
	@$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

.venv/.dev: requirements/dev.lock .venv/.base
	@$(BIN)/python -m pip install --quiet --no-deps -r requirements/dev.lock
	@touch $@

.venv/.bench: requirements/bench.lock .venv/.dev
	@$(BIN)/python -m pip install --quiet --no-deps -r requirements/bench.lock
	@touch $@

# Peers that bring torch live apart: they never reach what malan runs on.
.venv-peers/.ready: requirements/peers.lock
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet -r requirements/peers.lock
	@touch $@

# Torch and what trains with it live apart as well: the base install stays without.
.venv-train/.ready: requirements/base.lock requirements/dev.lock requirements/train.lock pyproject.toml
	@$(PYTHON) -m venv .venv-train
	@echo "Installing what training needs (about 2 GB on disk) …"
	@.venv-train/bin/python -m pip install --quiet --no-deps -r requirements/base.lock -r requirements/dev.lock
	@.venv-train/bin/python -m pip install --quiet -r requirements/train.lock
	@.venv-train/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

$(BUILT): .venv/.base $(shell find frontend -type f -not -path '*/node_modules/*' 2>/dev/null)
	@tools/frontend.sh
	@touch $@
