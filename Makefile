# Needs make and Python 3.11 or newer with its venv module; everything else is installed into .venv.
#
#   make demo     run the main job once, on this machine, with nothing configured
#   make test     all tests with branch coverage, in one process per core (at most four)
#   make test-system   the tests that need a browser, Prometheus, systemd or minutes; installs those on Debian, as root
#   make chaos    break everything for an hour, count what is lost, and write README's table
#   make fuzz     throw bytes at the reading of gateways' answers for 60 s (SECONDS=600 for longer)
#   make bench    measure, beside the peers, in about half an hour (QUICK=1: see in 3 that all of it runs)
#   make check    ruff, mypy, import-linter
#   make audit    ask a public service for known weaknesses of the installed packages
#   make format   let ruff rewrite what it can
#   make docs     write the documents that are drawn from the code

SHELL := /bin/sh
BIN := .venv/bin
SECONDS := 60
STAMP := .venv/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-system chaos fuzz bench peers check audit format docs

help:
	@sed -n 's/^#   //p' Makefile

venv: $(STAMP)

# `make PYTHON=/path/to/python3` chooses another interpreter for a new .venv. An interpreter counts only if it runs:
# version managers leave launchers behind that do not.
$(STAMP): pyproject.toml
	@set -eu; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  found=; \
	  for python in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "suno-worker needs Python 3.11 or newer, and none was found. Install it, or name it: make PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	  fi; \
	  echo "Creating .venv with $$found"; \
	  if ! "$$found" -m venv --clear .venv; then \
	    echo "$$found has no venv module. Debian and Ubuntu keep it in a package of its own: apt install python3-venv" >&2; \
	    exit 1; \
	  fi; \
	fi; \
	echo "Installing into .venv (about a minute, once)"; \
	$(BIN)/python -m pip install --quiet --editable '.[dev]'; \
	touch $@

demo: $(STAMP)
	@$(BIN)/suno-worker demo

test: $(STAMP)
	$(BIN)/pytest --cov --numprocesses=auto --maxprocesses=4 --dist=loadgroup

test-system: peers
	@tests/system/install.sh
	$(BIN)/pytest tests/system

chaos: $(STAMP)
	$(BIN)/python -m tests.chaos --json tests/chaos/survival.json --readme

# What a run found interesting is kept for the next one. A broken promise ends it, with the input in .fuzz/crash-….
fuzz: $(STAMP)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	@mkdir -p .fuzz
	$(BIN)/python -m tests.fuzz.fuzz_answers .fuzz/corpus -artifact_prefix=.fuzz/ -max_total_time=$(SECONDS) -max_len=8192 -timeout=10

# Writes benchmarks/results/latest.*, README's table and docs/capacity.md; with QUICK=1 only results/quick.*.
# NOTE=TEXT goes into the machine line.
bench: peers
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(if $(NOTE),--note="$(NOTE)")

# What is compared with, for `make bench` and the tests of it.
peers: $(STAMP)
	@$(BIN)/python -c 'import django_outbound_webhooks, django_webhook' 2>/dev/null \
	  || $(BIN)/python -m pip install --quiet --editable '.[dev,bench]'

check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

audit: $(STAMP)
	@$(BIN)/python .ci/audit.py

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(STAMP)
	$(BIN)/python -m docs.callback
	$(BIN)/python -m docs.architecture
	$(BIN)/python -m benchmarks.publish
