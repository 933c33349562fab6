# Every target sets up what it needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.PHONY: help setup run test test-slow lint cluster cluster-down e2e bench bench-check bench-controller gpu clean constraints

VENV := .venv
PYTHON_IN_VENV := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
# kubectl and, where the machine has none, uv come with the environment.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# tests/sharing.py says how many workers there are, which tests stay together, and which begin.
IN_WORKERS := -n auto --dist loadgroup --no-loadscope-reorder
# `make setup PYTHON=/path/to/python3.12` chooses the interpreter of a new environment.
export PYTHON

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-14s %s\n", $$1, $$2}'

setup: $(INSTALLED) ## make .venv with all packages, at the pinned versions

$(INSTALLED): pyproject.toml constraints.txt scripts/setup.sh
	scripts/setup.sh
	@touch $@

run: $(INSTALLED) ## fine-tune a small model on this machine (the quickstart), into runs/quickstart
	$(VENV)/bin/finetune run manifests/samples/quickstart.yaml --output runs/quickstart --overwrite

test: $(INSTALLED) ## unit and integration tests; builds the Kubernetes programs on first use
	$(PYTHON_IN_VENV) -m tests.cluster build --tier control-plane
	$(PYTHON_IN_VENV) -m pytest -rs $(IN_WORKERS) -m "not slow and not e2e and not gpu"

test-slow: $(INSTALLED) ## tests that train real models for minutes
	$(PYTHON_IN_VENV) -m tests.cluster build --tier control-plane
	$(PYTHON_IN_VENV) -m pytest -rs $(IN_WORKERS) -m "slow and not e2e and not gpu"

lint: $(INSTALLED) ## style, types, import rules, and that generated files are up to date
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	@# A test that cannot be imported fails no other test: whoever runs some of them would not see it.
	$(PYTHON_IN_VENV) -m pytest --collect-only -qq > $(VENV)/collected.txt 2>&1 || { tail -n 60 $(VENV)/collected.txt; false; }
	$(PYTHON_IN_VENV) -m finetune.api.crd --check
	$(PYTHON_IN_VENV) -m finetune.api.reference --check
	$(PYTHON_IN_VENV) -m controller.rights --check
	$(PYTHON_IN_VENV) -m scripts.chart_readme --check

cluster: $(INSTALLED) ## start a real one-node Kubernetes with the operator installed, and leave it up (root)
	$(PYTHON_IN_VENV) -m tests.cluster up

cluster-down: $(INSTALLED) ## remove that cluster and everything that it made
	$(PYTHON_IN_VENV) -m tests.cluster down

e2e: $(INSTALLED) ## tests on a real node, with a cluster of their own (root)
	$(PYTHON_IN_VENV) -m tests.cluster preflight
	$(PYTHON_IN_VENV) -m tests.cluster build --tier node
	$(PYTHON_IN_VENV) -m pytest -rs -m e2e tests/e2e

bench: $(INSTALLED) ## finetune run beside a bare loop, HF Trainer and TRL (half an hour on a quiet machine); QUICK=1 shows that it works
	$(PYTHON_IN_VENV) -m bench.trainer $(if $(QUICK),--quick)

bench-check: $(INSTALLED) ## the same, compared with the committed run: fails when a ratio fell by more than 10 %
	$(PYTHON_IN_VENV) -m bench.trainer --check

bench-controller: $(INSTALLED) ## the controller with 1,000 and 5,000 jobs on a real API server, beside KubeRay's operator; QUICK=1 shows that it works
	$(PYTHON_IN_VENV) -m tests.cluster build --tier control-plane
	$(PYTHON_IN_VENV) -m bench.controller $(if $(QUICK),--quick)

gpu: ## tests and figures on a CUDA device, without a network: PYTHON has torch, WHEELS is a folder of what it lacks
	scripts/gpu.sh

clean: ## remove the environment and all caches of this folder; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

constraints: $(INSTALLED) ## pin the newest versions that work together, after a change of pyproject.toml
	scripts/pin.sh
