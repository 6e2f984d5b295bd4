# People and CI run the same commands. `make demo` and `make test` set up everything they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= auto

.PHONY: demo test test-slow check parity format clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $(STAMP)

demo: $(STAMP)  ## evaluate the embedded demo and print its table
	$(BIN)/robench evaluate demo

test: $(STAMP)  ## everything quick
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-slow: $(STAMP)  ## the heavy ones
	$(BIN)/python -m pytest -n $(JOBS) -m slow

parity: $(STAMP)  ## every corruption against the published pixels (ROBENCH_GOLDEN), as one table
	PYTHONPATH=tests $(BIN)/python -m parity.table

check: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
