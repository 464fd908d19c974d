# The only task runner. Every target builds .venv first if it is missing or older than its lock.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help check fix test test-all bench study golden golden-accept smoke
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PYTEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -q
# A file's tests stay on one worker, or both would run the study that they look at.
ON_TWO := -n 2 --dist loadfile

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

# README.md is the description in the package, so it must be there too.
$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("rankscope needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Say: make PYTHON=/path/to/python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "Building .venv from constraints.txt (a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

check: $(READY)  ## formatting, lint, types, layers, links; changes nothing
	@$(BIN)/ruff format --quiet --check . || { echo "Formatting is off; 'make fix' mends it."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports > .venv/imports.txt 2>&1 || { cat .venv/imports.txt; exit 1; }
	@$(BIN)/python tools/check_links.py
	@echo "check: all good"

fix: $(READY)  ## formats and mends what ruff can mend
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

test: $(READY)  ## every quick test
	@$(PYTEST) $(ON_TWO) -m "not slow" tests

bench: $(READY)  ## how fast adapters train here, beside PEFT; hours, on an idle machine
	@$(BIN)/python benchmarks/engine.py
	@$(BIN)/python benchmarks/first_look.py
	@$(BIN)/python benchmarks/page.py
	@$(BIN)/python benchmarks/capture.py

test-all: $(READY)  ## every test, the slow ones too
	@$(PYTEST) $(ON_TWO) tests

study: $(READY)  ## the quick form of the first study, with its report
	@$(BIN)/rankscope study first_look:quick

golden: $(READY)  ## stored results of small runs still hold
	@$(PYTEST) tests/golden

golden-accept: $(READY)  ## rewrites the stored results; say why in the commit
	@RANKSCOPE_GOLDEN_ACCEPT=1 $(PYTEST) tests/golden

smoke: $(READY)  ## the command line as a user sees it, in seconds
	@$(BIN)/rankscope doctor
	@$(PYTEST) -x -m "not slow" tests/e2e
