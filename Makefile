# Every target works on a fresh clone: what needs the environment depends on it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow weights format lint types imports check dist-check bench

PYTHON ?= python3
PYTEST_ARGS ?=
# UMSREP_VENV: an environment elsewhere; .ci/run sets it so as to leave .venv alone
VENV := $(or $(UMSREP_VENV),.venv)
BIN := $(VENV)/bin
STAMP := $(VENV)/.umsrep-setup
PYTHON_FOLDERS := $(wildcard umsrep zoo heads tasks model_cards tests scripts benchmarks examples)

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | column -t -s '|'

setup: $(STAMP)  ## the environment, .venv; again only when pyproject.toml changed

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make setup: '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | tail -n 1); umsrep needs Python 3.11 or newer." \
		"Name one: make setup PYTHON=python3.12" >&2; exit 2; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet uv
# uv takes a seventh of pip's time (20 s against 140 s, docs/LOG.md), but pip alone knows a mirror from pip's configuration
	$(BIN)/uv pip install --python $(BIN)/python -e '.[dev,onnx,nifti,datasets,medmnist]' || \
		$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev,onnx,nifti,datasets,medmnist]'
	@touch $@

demo: setup  ## fine-tune three heads on simulated Doppler images, under three minutes
	$(BIN)/umsrep demo

# whole files go to one process, so that fixtures are made once a file; each process computes on one thread
test: setup  ## the fast tests, on all cores
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -P -m pytest -m "not slow" -n logical --maxprocesses=8 --dist loadfile $(PYTEST_ARGS)

test-slow: setup  ## the slow tests
	$(BIN)/python -P -m pytest -m slow $(PYTEST_ARGS)

WEIGHTS ?= ums-cxr-efficientnet-lite0 ums-us-efficientnet-lite0 ums-doppler-efficientnet-lite0 ums-cxr-cbr-tiny

weights: setup  ## train the shipped encoders anew, about three hours of one core (WEIGHTS=NAME for one); a stopped run goes on
	../shared/data/unpack data cxr_guangzhou cxr_nih us_nerve us_lung
	@test -f data/doppler/metadata.csv || $(BIN)/python scripts/simulate_doppler.py data/doppler
	@set -e; for name in $(WEIGHTS); do echo "== $$name"; \
		for config in $$(ls examples/weights/$$name.phase*.yaml 2>/dev/null) examples/weights/$$name.yaml; do \
			run=runs/$$(basename $$config .yaml); \
			test -f $$run/report.json || $(BIN)/umsrep finetune --config $$config --resume; done; \
		guard=0.05; test $$name != ums-us-efficientnet-lite0 || guard=0.1; \
		$(BIN)/python scripts/make_preset.py --name $$name --model runs/$$name/model --false-alarms $$guard; done

format: setup  ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix-only --quiet $(PYTHON_FOLDERS)
	$(BIN)/ruff format $(PYTHON_FOLDERS)

lint: setup  ## style and likely bugs
	$(BIN)/ruff format --check $(PYTHON_FOLDERS)
	$(BIN)/ruff check $(PYTHON_FOLDERS)

types: setup  ## mypy, strict
	$(BIN)/mypy

imports: setup  ## imports go one way
	$(BIN)/lint-imports

dist-check: setup  ## the wheel, installed and imported outside the checkout
	$(BIN)/python -P scripts/dist_check.py

check: lint types imports dist-check  ## all that is not a test

bench: setup  ## ratios of speed, one script after the other
	@set -e; for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python "$$script"; done
