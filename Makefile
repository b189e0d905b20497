# Everything runs from a virtual environment in .venv, made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint bench docs clean

demo: $(VENV)/.installed
	@mkdir -p demo
	$(BIN)/skyextract examples/field.fits.fz -c default.conf -o demo -CATALOG_TYPE ASCII_HEAD \
	    -ASTREFCAT_NAME examples/field_refcat.fits
	@echo
	@echo "demo/field.json:"
	@$(BIN)/python examples/show_summary.py demo/field.json
	@echo
	@echo "demo/field.cat, the first sources:"
	@grep -v '^#' demo/field.cat | head -n 5 | cut -c1-132

test: $(VENV)/.dev
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/speed.py

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
