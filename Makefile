# make demo and make test set up all they need in .venv: Python 3.10 to 3.13 with pip and venv is
# enough. uv installs the packages where it is present. The same lock files hold two stacks:
# TensorFlow 2.15 for Python 3.10 and 3.11, TensorFlow 2.21 with tf-keras for 3.12 and 3.13.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

VENV ?= .venv
BIN := $(VENV)/bin
# The first of these that runs. A name on the PATH may fail, as pyenv's do for other versions.
PYTHONS := 3.11 3.10 3.12 3.13
PYTHON ?= $(shell for version in $(PYTHONS); do for name in python$$version python3 python; do \
	"$$name" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" 2>/dev/null \
	&& { command -v "$$name"; exit; }; done; done)
SECOND_PYTHON ?= python3.13

# Extras stay: pip takes coverage[toml] for a package of its own, and then the newest, which has no hash.
LOCKED := --universal --python-version 3.10 --generate-hashes --no-strip-extras --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock"

# Processes of a test run: one a core. TensorFlow takes about 1.5 GB in each of them, so at most 8,
# unless JOBS=... sets another number.
JOBS ?= $(shell cores=$$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN); echo $$((cores < 8 ? cores : 8)))
# A file of tests runs whole in one process: its fixtures are made once.
PARALLEL := -n $(JOBS) --dist loadfile
TESTS := $(wildcard tests/test_*.py tests/*/test_*.py)
tests_of = $(patsubst %,tests/$(1)/test_%.py,$(2))
# The longest files start first, so that no process works on one when the others have finished.
LONGEST := $(call tests_of,models,half_precision backbones) tests/test_docs.py \
	$(call tests_of,training,step end_to_end_task resume trainer multi_worker) \
	$(call tests_of,inference,series_predictor export prediction) tests/test_whole_way.py \
	tests/models/test_series_model.py tests/serving/test_web_page.py tests/phantom/test_phantom.py
IN_ORDER := --no-loadscope-reorder $(LONGEST) $(filter-out $(LONGEST),$(TESTS))
# The tests that meet TensorFlow, and those of the network, since Python's TLS grows stricter: the
# others are the same on both stacks, or run what these run.
CORE := tests/test_losses.py tests/test_windows.py tests/models tests/reporting \
	$(call tests_of,gateway,tls receiver_tls receiver stow http destinations_http destinations_dimse webhook model) \
	$(call tests_of,metrics,metrics keras_metric) \
	$(call tests_of,records,records input_pipeline) \
	$(call tests_of,runtime,precision strategies) \
	$(call tests_of,training,optimizers augmentation step self_check epoch checkpoints trainer \
		series_task end_to_end_task exam_task) \
	$(call tests_of,inference,forward export prediction series_predictor)

# Of make mutants: a room, or the path of a module; all if empty.
ROOM ?=
# Of make fuzz: seconds, and the seed of all damage.
TIME ?= 300
SEED ?= 0

DEMO := data/phantoms data/samples data/tfrecords runs/resnet50 data/demo_segmentation runs/demo_segmentation \
	data/pretrain runs/pretrain

.PHONY: help setup setup-dev demo demo-segmentation pretrain web test coverage test-slow test-second fuzz soak mutants bench docs dist sbom licences changed-coverage lock format clean

help: ## list the targets (what make alone does)
	@echo "make TARGET, where TARGET is one of"
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 22
	@echo "PYTHON=/path/to/python3.11 chooses another Python than the first of $(PYTHONS) on the PATH."

setup: $(VENV)/.base ## install what the commands need into .venv
setup-dev: $(VENV)/.dev ## install what the commands and the tests need into .venv

define no_python
error: no Python to set up $(VENV) with. On the PATH were looked for, in this order: Python $(PYTHONS).
Install one of them with its venv module, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)
endef

define check_python
import sys
version = sys.version_info
if not (3, 10) <= version < (3, 14):
    sys.exit("error: %s is Python %d.%d; expected 3.10 to 3.13." % (sys.executable, *version[:2]))
stack = "2.15" if version < (3, 12) else "2.21 and tf-keras"
print("Setting up $(VENV): %s, Python %d.%d.%d" % (sys.executable, *version[:3]), end="")
print("" if "docs" in "$(VENV)" else ", TensorFlow " + stack)
endef
export no_python check_python

$(BIN)/python:
	@python="$(PYTHON)"; test -n "$$python" || { echo "$$no_python" >&2; exit 1; }; \
	"$$python" -c "$$check_python"; \
	"$$python" -m venv $(VENV)

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

demo: $(VENV)/.base ## the whole way on synthetic patients, from DICOM files to a report and a submission
	$(BIN)/python -m tools.demo

demo-segmentation: $(VENV)/.base ## masks and volumes on synthetic patients, from masks in TFRecords to millilitres
	$(BIN)/python -m tools.demo_segmentation

# cpu: two cores; gpu: more patients at 224 px, for one GPU.
SIZE ?= cpu
pretrain: $(VENV)/.base ## weights from synthetic patients, with a card, to start from on real ones (SIZE=gpu: for a GPU)
	$(BIN)/python -m tools.pretrain --size=$(SIZE)

# A calibrated model is what a finished demo leaves.
web: $(VENV)/.web ## the page at http://127.0.0.1:8000, with the demo's model and synthetic patients to click on
	test -f runs/resnet50/calibration.json || $(BIN)/python -m tools.demo
	test -d data/phantoms/stage_2_test || $(BIN)/python -m tools.make_phantoms --flagfile=configs/demo_phantoms.flags
	$(BIN)/python -m tools.make_samples
	exec $(BIN)/python -m ich_tf.serve --samples_dir=data/samples

test: $(VENV)/.dev ## lint, types and tests, without those that take minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# Without its cache mypy takes one core for half a minute: it runs beside the tests.
	@mypy=""; \
	if $(BIN)/python -c "import sys; sys.exit(sys.version_info >= (3, 12))"; then \
		echo "$(BIN)/mypy &"; $(BIN)/mypy & mypy=$$!; \
	else echo "mypy: left out on Python 3.12 and later, since the types are checked against NumPy 1"; fi; \
	set -x; $(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(IN_ORDER); { set +x; } 2>/dev/null; \
	[ -z "$$mypy" ] || wait "$$mypy" || { echo "error: mypy, above: the types are not right."; exit 1; }

coverage: $(VENV)/.dev ## run the tests of make test, and list the lines that they do not reach
	$(BIN)/python -m pytest -q -m "not slow" $(PARALLEL) --cov=ich_tf --cov-report=term:skip-covered

test-slow: $(VENV)/.dev ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow $(PARALLEL) $(IN_ORDER)

test-second: ## test training, evaluation and prediction on TensorFlow 2.21 (SECOND_PYTHON=python3.13)
	$(MAKE) setup-dev VENV=.venv-second PYTHON="$(SECOND_PYTHON)"
	.venv-second/bin/python -m pytest -m "not slow or second_stack" -p no:cacheprovider $(PARALLEL) --no-loadscope-reorder \
		$(filter $(LONGEST),$(CORE)) $(filter-out $(LONGEST),$(CORE))

fuzz: $(VENV)/.dev ## damage DICOM files, archives, volumes, masks and TFRecords for TIME=300 seconds, and check what reading them gives
	$(BIN)/python -m tools.fuzz --seconds=$(TIME) --seed=$(SEED) --keep_dir=runs/fuzz

mutants: $(VENV)/.audit ## put small faults into metrics, splits, matching and shards, and list those that no test notices (ROOM=metrics)
	$(BIN)/python -m tools.mutate --room=$(ROOM) --jobs=$(JOBS)

# Of make soak: minutes of load.
MINUTES ?= 60

soak: $(VENV)/.dev ## load on the page and the gateway for MINUTES=60: memory, handles, threads and disk stay flat
	$(BIN)/python -m tools.soak --minutes=$(MINUTES) --seed=$(SEED)

bench: $(VENV)/.dev ## measure speed and memory; BASE=REV measures this checkout beside another commit
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
	$(BIN)/python -m pytest -s tests/metrics/test_bootstrap.py -m slow
endif

$(VENV)/.audit: requirements-audit.lock $(VENV)/.dev
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $<
	touch $@

docs: .venv-docs/.docs ## build the documentation's site into site/
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
	! grep -rnE "<(script|link|img|iframe)[^>]* (src|href)=.?(https?:)?//" site --include="*.html"

.venv-docs/.docs: requirements-docs.lock
	$(MAKE) .venv-docs/bin/python VENV=.venv-docs
	.venv-docs/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r $<
	touch $@

dist: $(VENV)/.dev ## build the wheel and the sdist in dist/: the same bytes wherever they are built
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	cd dist && sha256sum * | tee SHA256SUMS

sbom: dist $(VENV)/.audit ## list what the wheel and the lock files hold as CycloneDX, in dist/sbom/, with advisories and hashes
	$(BIN)/python -m tools.sbom

licences: $(VENV)/.audit ## list the licences of all packages in dist/licences.md; none of the wheel's may be copyleft
	$(BIN)/python -m tools.licences

changed-coverage: $(VENV)/.audit ## run the tests of make test, and refuse a change since BASE of whose lines they reach under 90 %
	$(BIN)/python -m pytest -q -m "not slow" $(PARALLEL) --cov=ich_tf --cov-report=xml:.coverage.xml
	$(BIN)/diff-cover .coverage.xml --compare-branch=$(BASE) --fail-under=90

# Those of fewer packages take the versions of the first.
lock: ## compile the lock files from pyproject.toml (needs uv)
	uv pip compile pyproject.toml $(addprefix --extra ,build dev web gateway masks codecs dask beam) $(LOCKED) -q --upgrade -o requirements-dev.lock
	uv pip compile pyproject.toml --extra build --extra web $(LOCKED) -c requirements-dev.lock -q --upgrade -o requirements-web.lock
	uv pip compile pyproject.toml $(addprefix --extra ,build gateway masks) $(LOCKED) -c requirements-dev.lock -q --upgrade -o requirements-gateway.lock
	uv pip compile pyproject.toml --extra build $(LOCKED) -c requirements-dev.lock -q --upgrade -o requirements.lock
	uv pip compile pyproject.toml --extra audit $(LOCKED) -c requirements-dev.lock -q --upgrade -o requirements-audit.lock
	sed -n '/^docs = \[/,/^\]/s/^ *"\([^"]*\)".*/\1/p' pyproject.toml | \
		uv pip compile - $(LOCKED) -q --upgrade -o requirements-docs.lock

format: $(VENV)/.dev ## lay out the code, and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what the demos, the tests, docs and dist made (not the environments)
	rm -rf $(DEMO) .pytest_cache .mypy_cache .ruff_cache dist site
