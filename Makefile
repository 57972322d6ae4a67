# make demo and make test set up all they need: Python 3.10 or 3.11 with pip and venv is enough.
# uv is used where it is present.
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

DEMO := data/phantoms data/tfrecords runs/resnet50

.PHONY: help setup setup-dev demo test test-slow bench lock format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.base ## install what commands need into .venv
setup-dev: $(VENV)/.dev ## and what tests need

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10 or 3.11 found; install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

define install
	if command -v uv >/dev/null; then uv pip install -q --python $(BIN)/python --require-hashes -r $(1); \
	else $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(1); fi
	touch $@
endef

$(VENV)/.base: requirements.lock | $(BIN)/python
	$(call install,requirements.lock)

$(VENV)/.dev: requirements-dev.lock | $(BIN)/python
	$(call install,requirements-dev.lock)
	touch $(VENV)/.base

demo: $(VENV)/.base ## phantoms -> TFRecords -> training -> evaluation -> submission
	$(BIN)/python -m tools.demo

test: $(VENV)/.dev ## lint, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/.dev ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

bench: $(VENV)/.dev ## measure conversion and reading
	$(BIN)/python -m tools.benchmark.convert
	$(BIN)/python -m tools.benchmark.input

lock: ## compile the lock files from pyproject.toml (needs uv)
	for extra in "" dev; do uv pip compile pyproject.toml $${extra:+--extra $$extra --extra codecs --extra dask --extra beam} --universal --python-version 3.10 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		-q --upgrade -o requirements$${extra:+-$$extra}.lock; done

format: $(VENV)/.dev ## format and fix what can be
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what demo and tests made (not .venv)
	rm -rf $(DEMO) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
