# Two commands do everything: `make demo` and `make test`. Both need Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PACKAGES := mia_lab tests experiments docs
unexport PYTHONDONTWRITEBYTECODE  # else each of the many processes compiles the package anew

.DEFAULT_GOAL := help
.PHONY: help setup demo docs test coverage test-slow test-slurm studies studies-check paper-scale lint format typecheck clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(READY) ## Create .venv with everything the other targets need

# Not compiled: Python does it at the first import, of a quarter of the modules.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than 3.11; run make with PYTHON=python3.12, say" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-compile -c constraints.txt \
	  -e '.[dev]'
	@touch $@

demo: $(READY) ## Audit a small model on generated facades, in about a minute
	$(BIN)/python -m mia_lab +experiment=facades_pix2pix

docs: $(READY) ## Build the documentation into docs/_build/html
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html

QUICK := -m "not slow and not slurm" -n 2 --dist worksteal --durations 25

test: $(READY) ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(QUICK)

coverage: $(READY) ## The same under a tracer, which takes half as long again
	$(BIN)/python -m coverage erase
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest $(QUICK)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

test-slow: $(READY) ## Run the tests that train or simulate for minutes
	$(BIN)/python -m pytest -m slow

studies: $(READY) ## Run studies on real data, those in STUDIES or all, as far as rows are missing
	$(BIN)/python experiments/run.py $(STUDIES)

studies-check: $(READY) ## Check that tables and figures of the studies are what their CSV files say
	$(BIN)/python experiments/run.py --check $(STUDIES)

# Needs five libraries only, so it runs where `make setup` cannot: with PYTHON if there is no .venv.
PAPER_SCALE := CELL BUDGET_S BATCH PRECISION ACCELERATOR OUT OVERRIDES COMMIT

paper-scale: ## Train and audit a cell of Table 1 at 256 px, for BUDGET_S seconds (see experiments/paper_scale)
	@$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) experiments/paper_scale/gpu.py \
	  $(foreach name,$(PAPER_SCALE),$(if $($(name)),'$(name)=$($(name))'))

test-slurm: $(READY) ## Run the tests on a SLURM cluster that they start (root, Debian)
	command -v slurmctld >/dev/null || apt-get install -y --no-install-recommends \
	  slurmctld slurmd slurm-client munge
	CI=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/slurm

lint: $(READY) ## Check style, format, types and the import contract
	$(BIN)/ruff check $(PACKAGES)
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/mypy
	$(BIN)/lint-imports

typecheck: $(READY) ## Check types only
	$(BIN)/mypy

format: $(READY) ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix $(PACKAGES)
	$(BIN)/ruff format $(PACKAGES)

clean: ## Remove .venv and caches; outputs/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage* docs/_build dist build
