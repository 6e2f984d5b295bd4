# People and CI run the same commands. `make demo` and `make test` set up everything they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= auto

.PHONY: demo test test-slow check parity formats fuzz index schema format clean

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
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m slow

parity: $(STAMP)  ## every corruption against the published pixels (ROBENCH_GOLDEN), as one table
	PYTHONPATH=tests $(BIN)/python -m parity.table

formats: $(STAMP)  ## a model in every format: loaded, equal, broken on purpose, as one table (ROBENCH_SHARED)
	PYTHONPATH=tests $(BIN)/python -m formats.table

fuzz: $(STAMP)  ## damaged and hostile datasets and models by the thousand: crashes, hangs, payloads that ran
	PYTHONPATH=tests $(BIN)/python -m data.fuzz
	PYTHONPATH=tests $(BIN)/python -W ignore -m formats.fuzz

index: $(STAMP)  ## the fingerprints of all architectures of the installed libraries, for guessing them
	$(BIN)/python scripts/index_architectures.py

schema: $(STAMP)  ## docs/schema.md, the columns of every table
	$(BIN)/python scripts/write_schema.py

check: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
