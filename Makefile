# make demo and make test set up all they need: Python 3.10 or 3.11 with pip and venv is enough.
# uv is used where it is present. With PYTHON=python3.12 or 3.13 they use the second stack.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

VENV ?= .venv
BIN := $(VENV)/bin
# The first of these that runs and is 3.10 or 3.11; set PYTHON=... to choose another.
PYTHON ?= $(shell for p in python3.11 python3.10 python3 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 12))' 2>/dev/null \
	&& { echo "$$p"; break; }; done)

SECOND_PYTHON ?= python3.13
# What meets TensorFlow; the rest is the same on both stacks, or runs what these run.
CORE := $(addprefix tests/test_,$(addsuffix .py,metrics losses dropout records windows models optimizers \
	augment input_pipeline class_balance precision strategies training_step self_check epoch \
	checkpoints trainer inference heatmaps saved_model prediction series_model series_task \
	series_predictor end_to_end_task end_to_end))

LOCKED := --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock"

# A process a core, a file of tests whole in one of them: its fixtures are made once.
PARALLEL := -n 2 --dist loadfile
# Begun first, so that no process works on it when the other has nothing left.
LONGEST := tests/test_resume.py

DEMO := data/phantoms data/samples data/tfrecords runs/resnet50

.PHONY: help setup setup-dev demo web test coverage test-slow test-second bench dist lock format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.base ## install what commands need into .venv
setup-dev: $(VENV)/.dev ## and what tests need

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10 or 3.11 found; install one, or name it: make PYTHON=/path/to/python3.11 (3.12 and 3.13 use TensorFlow 2.21)" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

define install
	if command -v uv >/dev/null; then uv pip install -q --python $(BIN)/python --require-hashes -r $(1); \
	else $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(1); fi
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@
endef

$(VENV)/.base: requirements.lock | $(BIN)/python
	$(call install,requirements.lock)

$(VENV)/.dev: requirements-dev.lock | $(BIN)/python
	$(call install,requirements-dev.lock)
	touch $(VENV)/.base $(VENV)/.web

$(VENV)/.web: requirements-web.lock | $(BIN)/python
	$(call install,requirements-web.lock)
	touch $(VENV)/.base

demo: $(VENV)/.base ## phantoms -> TFRecords -> training -> evaluation -> submission
	$(BIN)/python -m tools.demo

# A calibrated model is what a finished demo leaves.
web: $(VENV)/.web ## the page at http://127.0.0.1:8000: the demo's model, phantoms to click on
	test -f runs/resnet50/calibration.json || $(BIN)/python -m tools.demo
	test -d data/phantoms/stage_2_test || $(BIN)/python -m tools.make_phantoms --flagfile=configs/demo_phantoms.flags
	$(BIN)/python -m tools.make_samples
	exec $(BIN)/python -m ich_tf.serve --samples_dir=data/samples

test: $(VENV)/.dev ## lint, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

coverage: $(VENV)/.dev ## the tests again, and which lines they reach
	$(BIN)/python -m pytest -q -m "not slow" $(PARALLEL) --cov=ich_tf --cov-report=term:skip-covered

test-slow: $(VENV)/.dev ## the tests that take minutes
	$(BIN)/python -m pytest -m slow $(PARALLEL) --no-loadscope-reorder $(LONGEST) \
		$(filter-out $(LONGEST),$(wildcard tests/test_*.py))

test-second: ## training, evaluation and prediction on TensorFlow 2.21 (SECOND_PYTHON=python3.13)
	$(MAKE) setup-dev VENV=.venv-second PYTHON="$(SECOND_PYTHON)"
	.venv-second/bin/python -m pytest -m "not slow" -p no:cacheprovider $(PARALLEL) $(CORE)

bench: $(VENV)/.dev ## measure everything; with BASE=REV, this checkout beside another commit
ifdef BASE
	$(BIN)/python -m tools.benchmark.commits --base=$(BASE)
else
	$(BIN)/python -m tools.benchmark.convert
	$(BIN)/python -m tools.benchmark.input
	$(BIN)/python -m tools.benchmark.train
	$(BIN)/python -m tools.benchmark.predict
	$(BIN)/python -m tools.benchmark.series
	$(BIN)/python -m tools.make_samples
	$(BIN)/python -m tools.benchmark.serve
	$(BIN)/python -m pytest -s tests/test_bootstrap.py -m slow
endif

dist: $(VENV)/.dev ## wheel and sdist in dist/: the same bytes wherever they are built
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	cd dist && sha256sum *

# Those of fewer packages take the versions of the first.
lock: ## compile the lock files from pyproject.toml (needs uv)
	uv pip compile pyproject.toml $(addprefix --extra ,build dev web codecs dask beam) $(LOCKED) -q --upgrade -o requirements-dev.lock
	uv pip compile pyproject.toml --extra build --extra web $(LOCKED) -c requirements-dev.lock -q --upgrade -o requirements-web.lock
	uv pip compile pyproject.toml --extra build $(LOCKED) -c requirements-dev.lock -q --upgrade -o requirements.lock

format: $(VENV)/.dev ## format and fix what can be
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what demo and tests made (not .venv)
	rm -rf $(DEMO) .pytest_cache .mypy_cache .ruff_cache dist
