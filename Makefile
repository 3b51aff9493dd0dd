PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DAGSTER_HOME := $(CURDIR)/.dagster_home
# The recipe of every target: a file, or the name of a packaged recipe.
RECIPE ?= demo
export SYNTHVLM_RECIPE := $(RECIPE)
# A backfill waits for its code server while that is being started again, in place of failing.
export DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR := 1
# Where `make ui` listens. Dagster has no login: keep it on this machine, or put a proxy with one before it.
HOST ?= 127.0.0.1
PORT ?= 3000

.DEFAULT_GOAL := help
.PHONY: help install demo ui test test-long check format clean

help: ## Show what can be done here
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed ## Make .venv and install the project into it

demo: $(VENV)/.installed $(DAGSTER_HOME)/dagster.yaml ## Run the whole pipeline on a small world of shapes
	@$(BIN)/synthvlm run
	@echo "  Dagster UI                make ui"

ui: $(VENV)/.installed $(DAGSTER_HOME)/dagster.yaml ## Open the Dagster web UI on http://127.0.0.1:3000
	@$(BIN)/dagster dev -w workspace.yaml -h $(HOST) -p $(PORT)

# Many tests wait for a daemon or a server: one process more than there are cores keeps these busy.
PYTEST := env -u SYNTHVLM_RECIPE -u DAGSTER_HOME $(BIN)/python -m pytest -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --maxprocesses 5 \
  --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed-dev ## Run the tests, but for the long ones
	@$(PYTEST)

test-long: $(VENV)/.installed-dev ## Run the tests that take about a minute or more each
	@$(PYTEST) -m long

check: $(VENV)/.installed-dev ## Lint, format check, types, import contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

format: $(VENV)/.installed-dev ## Format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean: ## Remove what runs have made: the tables and the Dagster instance (not .venv)
	rm -rf storage .dagster_home

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing the project into $(VENV) (several GB with PyTorch, some minutes) …"
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	@echo "Installing what the tests need …"
	@$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

# The instance is made here, because web server and daemon, started together, would both make its tables.
$(DAGSTER_HOME)/dagster.yaml: | $(VENV)/.installed
	@mkdir -p $(DAGSTER_HOME) && ln -sf ../dagster.yaml $@
	@$(BIN)/synthvlm gpus
