# Everything runs from a virtual environment in .venv, made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Modules are compiled when they are first imported: all of them took longer than what is ever used.
PIP = -m pip install --quiet --disable-pip-version-check --no-compile
unexport PYTHONDONTWRITEBYTECODE
# As the program does for itself: threads of BLAS wait for each other where tests run beside each other.
export OPENBLAS_NUM_THREADS ?= 1
# As many tests at once as there are cores; PYTEST="-k name" for some of them.
PYTEST ?=
# The tests that run with the oldest dependencies; empty is all of them.
OLDEST ?=
OLDEST_PYTHON ?= $(shell command -v python3.11 || echo $(PYTHON))
WORKERS ?= auto
WORK = -n $(WORKERS)

.PHONY: demo kernels test check interpreted boundscheck lint coverage test-oldest wheel faults bench docs clean

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

kernels: $(VENV)/.installed  ## all of them compiled, as many at once as there are cores
	$(BIN)/skyextract --warm

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(WORK) $(PYTEST)

check: lint interpreted boundscheck  ## lint, then kernels as plain Python and with indices checked

interpreted: $(VENV)/.dev  ## the kernels as plain Python, with the share of their lines that is run
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q $(WORK) --cov=skyextract.kernels tests/kernels

boundscheck: $(VENV)/.dev
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=build/boundscheck $(BIN)/python -m pytest -q $(WORK) \
	    tests/kernels tests/stages

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

# Compiled kernels leave no trace, so their tests run interpreted first; the rest of the
# suite, compiled, is added to that.
coverage: $(VENV)/.dev  ## the suite with the share of src that it runs
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q $(WORK) --cov --cov-report= tests/kernels
	$(BIN)/python -m pytest $(WORK) --cov --cov-append --cov-report=term $(PYTEST)

test-oldest: $(VENV)-oldest/.installed  ## with the oldest dependencies that pyproject.toml claims
	$(VENV)-oldest/bin/skyextract --warm  # once, not in each process of the tests
	$(VENV)-oldest/bin/python -m pytest -q $(WORK) $(OLDEST)

wheel: $(VENV)/.dev  ## built, installed without any tool, and run on the example
	rm -rf dist build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --outdir dist . >build/wheel/log.txt || { cat build/wheel/log.txt; exit 1; }
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python $(PIP) dist/*.whl
	cd build/wheel && ../../.ci/smoke venv/bin/python ../../examples

faults: $(VENV)/.dev  ## kills, full disks, damaged files and absurd values in full; prints a table
	$(BIN)/python -m tests.faults

bench: $(VENV)/.dev  ## all benchmarks, or BENCH="speed truth.psf"; see benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks $(BENCH)

docs: $(VENV)/.dev  ## default.conf and the generated pages, then the site in build/site
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/doctrees docs build/site
	@echo "build/site/index.html"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python $(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python $(PIP) --editable ".[dev]"
	@touch $@ $(VENV)/.installed

# Nothing of this source tree, so that another installation of it may run beside it.
$(VENV)-oldest/.pinned: constraints/oldest.txt
	$(OLDEST_PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python $(PIP) --requirement constraints/oldest.txt
	@touch $@

$(VENV)-oldest/.installed: $(VENV)-oldest/.pinned pyproject.toml
	$(VENV)-oldest/bin/python $(PIP) --editable ".[test]" --constraint constraints/oldest.txt
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest demo build dist src/*.egg-info
