# People and CI run the same commands. `make demo` installs the package alone, the others also its extras.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.base
DEV := $(VENV)/.dev
JOBS ?= auto
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.PHONY: demo test test-slow test-nightly check parity formats fuzz index docs tables format clean

$(BASE): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	@touch $(BASE)

$(DEV): $(BASE)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $(DEV)

demo: $(BASE)  ## evaluate the embedded demo and print its table
	$(BIN)/robench evaluate demo

test: $(DEV)  ## quick tests
	$(PYTEST) -m "not slow and not nightly" --durations=20

test-slow: $(DEV)  ## heavy tests
	$(PYTEST) -m "slow and not nightly"

test-nightly: $(DEV)  ## heavy tests, simulations and full tables
	$(PYTEST) -m "slow or nightly"

parity: $(DEV)  ## every corruption compared with the published pixels (ROBENCH_GOLDEN), as one table
	$(BIN)/python -m tests.parity.table

formats: $(DEV)  ## a model in every format: loaded, compared and broken on purpose, as one table (ROBENCH_SHARED)
	$(BIN)/python -m tests.models.formats.table

fuzz: $(DEV)  ## thousands of damaged and hostile datasets and models: crashes, hangs, executed payloads
	$(BIN)/python -m tests.datasets.fuzz
	$(BIN)/python -W ignore -m tests.models.formats.fuzz

index: $(DEV)  ## fingerprints of all architectures of the installed libraries, for their detection
	$(BIN)/python scripts/index_architectures.py

docs: $(DEV)  ## the documentation site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

tables: $(DEV)  ## tables of docs/ that the code defines
	$(BIN)/python scripts/write_docs.py

check: $(DEV)  ## style, types and English
	$(BIN)/python scripts/check_english.py
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
