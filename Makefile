# Needs python3 (3.10 to 3.13) with venv, and make. Everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Random inputs of every way in: each works or ends in one clear line. About 20 minutes.
FUZZ_INPUTS ?= 10000
FUZZ_SEED ?= 1

.PHONY: demo test test-slow package fuzz bench docs figures clean

# The main job: about two minutes; look at the pictures and the report it leaves in results/.
demo: $(VENV)/.installed
	$(BIN)/gridproblems solve orpd --case ieee39 --objectives line_loss_mw \
		--algorithm mvmo --evals 5000 --seed 1 --out results/
	$(BIN)/gridproblems compare --study dispatch --jobs 2 --out results/dispatch

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist worksteal

# The long forms of tests that `make test` runs in a short form.
test-slow: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2 --dist worksteal -m slow

# Source distribution and wheel, installed in an environment of their own and used from another folder.
package: $(VENV)/.installed-dev
	rm -rf build dist
	$(BIN)/python -m build
	$(PYTHON) -m venv build/clean
	build/clean/bin/pip install --quiet dist/*.whl
	place=$$(mktemp -d) && clean=$$PWD/build/clean/bin && cd $$place && $$clean/pip check && \
		$$clean/gridproblems solve orpd --case ieee14 --objectives line_loss_mw \
		--algorithm mvmo --evals 500 --seed 1 --out answer/ && test -s answer/*/report.html

fuzz: $(VENV)/.installed-dev
	$(BIN)/python tests/fuzzing.py --inputs $(FUZZ_INPUTS) --seed $(FUZZ_SEED)

bench: $(VENV)/.installed-dev
	$(BIN)/pytest benchmarks/speed --benchmark-enable --benchmark-only

docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# Every picture of the README and the documentation.
figures: $(VENV)/.installed
	$(BIN)/python docs/make_figures.py

clean:
	rm -rf $(VENV) build dist docs/_build docs/gallery docs/reference .pytest_cache .mypy_cache .ruff_cache *.egg-info

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable ".[report]"
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable ".[docs]"
	touch $@
