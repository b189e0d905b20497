# Everything runs from a virtual environment in .venv, made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test check lint bench docs clean

NIGHT = examples/night

demo: $(VENV)/.installed
	@mkdir -p demo
	$(BIN)/skyextract $(NIGHT)/science.fits.fz -c default.conf -o demo -CAMERA $(NIGHT)/camera.conf \
	    -ISR_BIAS '$(NIGHT)/bias*.fz' -ISR_DARK '$(NIGHT)/dark*.fz' -ISR_FLAT '$(NIGHT)/flat*.fz' \
	    -ASTREFCAT_NAME $(NIGHT)/refcat.fits -CATALOG_TYPE ASCII_HEAD
	@echo
	@echo "demo/science.json:"
	@$(BIN)/python examples/show_summary.py demo/science.json
	@echo
	@echo "demo/science.cat, the first sources (number, x, y, RA, Dec, magnitude, error, flags):"
	@grep -v '^#' demo/science.cat | head -n 5 | awk '{print $$1, $$5, $$6, $$12, $$13, $$24, $$25, $$(NF-1)}'

test: $(VENV)/.dev
	$(BIN)/python -m pytest

check: lint  ## kernels as plain Python, then kernels and stages with indices checked
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q tests/kernels
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=build/boundscheck $(BIN)/python -m pytest -q tests/kernels tests/stages

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev  ## all benchmarks, or `make bench BENCH="speed truth.psf"`; see benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks $(BENCH)

docs: $(VENV)/.dev  ## regenerate default.conf and the generated pages
	$(BIN)/python docs/generate.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo build dist src/*.egg-info
