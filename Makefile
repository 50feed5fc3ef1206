# Tasks of mmmodel. `make` alone lists them.
PY ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out
STACK ?= nbd-tcp
RESERVE ?= host
HOST ?= x86-24g
EXPERIMENT ?= demonstration
PYTEST := $(BIN)/python -m pytest

.PHONY: help run test test-host test-app test-exact test-answers test-rest test-notebooks lint verify bench lab lab-kernel html rerun notebooks browser lock proofs
help:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

# The stamp is the whole set-up: a virtual environment with the locked dependencies and this package.
$(VENV)/ok: requirements.lock pyproject.toml
	@$(PY) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "mmmodel needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Choose another with: PY=python3.12 make ...")'
	$(PY) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(VENV)/ok ## size a real stack: verdict, executed notebook, figures
	$(BIN)/python -m mmmodel size $(STACK) --reserve $(RESERVE) --host $(HOST)
	$(BIN)/python -m mmmodel run 09-size-my-stack -p stack=$(STACK) -p reserve=$(RESERVE) -p host=$(HOST) -o $(OUT)

test: lint ## everything that CI runs, two things at a time
	@echo "tests run in parts, two side by side; each speaks when it is done, in some five to eight minutes altogether"
	@rm -f $(OUT)/.coverage*
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target $(PARTS) test-notebooks
	@if [ -n "$(COVERED)" ]; then $(BIN)/coverage combine --quiet && $(BIN)/coverage report --format=total; \
	  else echo "coverage: not measured before Python 3.12, where it would double the time"; fi

lint: $(VENV)/ok ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Before Python 3.12 the lines that run can only be counted at twice the time.
COVERED = $(shell $(BIN)/python -c 'import sys; sys.version_info < (3, 12) or print("yes")' 2>/dev/null)
RUN_TESTS = $(if $(COVERED),COVERAGE_CORE=sysmon $(BIN)/coverage run --parallel-mode,$(BIN)/python) -m pytest -m 'not verify and not browser'
FIRST := host app exact answers# the rooms with the longest tests, each a part of its own; what is left is another
PARTS := $(FIRST:%=test-%) test-rest

$(FIRST:%=test-%): test-%: $(VENV)/ok
	$(RUN_TESTS) tests/$*

test-rest: $(VENV)/ok
	$(RUN_TESTS) tests $(FIRST:%=--ignore=tests/%)

test-notebooks: $(VENV)/ok ## run every notebook and compare its outputs
	$(PYTEST) --nbval --nbval-current-env --nbval-sanitize-with=tests/nbval.cfg --nbval-cell-timeout=120 -p no:cacheprovider notebooks

verify: $(VENV)/ok ## slow verification: exhaustive and statistical (an hour and more)
	$(PYTEST) -m verify --timeout=3600 -s

proofs: $(VENV)/ok ## have the machine-checked proofs checked and print their axioms (none); needs coqc (apt install coq)
	$(BIN)/python -m mmmodel.bounds.proofs

bench: $(VENV)/ok ## benchmarks, with peers measured in the same run
	$(BIN)/python -m tests.benchmarks

lab: $(VENV)/ok ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=notebooks

lab-kernel: $(VENV)/ok ## boot stock kernels under qemu and see which settings hang (apt; EXPERIMENT=all for the matrix)
	$(BIN)/python -m mmmodel.host.lab $(EXPERIMENT) --out $(OUT)/lab

html: $(VENV)/ok ## render the notebooks to one static site in site/, which needs no network
	$(BIN)/python -m mmmodel html -o site

rerun: $(VENV)/ok ## run all notebooks into out/<date>; PARAMETERS="depth=64 host=host", only what changed
	$(BIN)/python -m mmmodel rerun $(foreach pair,$(PARAMETERS),-p $(pair)) -o $(OUT)

notebooks: $(VENV)/ok ## maintainers: execute the notebooks in place (ONLY="notebooks/09-size-my-stack.ipynb")
	$(BIN)/python -m tests.refresh $(or $(ONLY),$(wildcard notebooks/*.ipynb))

browser: $(VENV)/ok ## notebooks and site in a real browser; INSTALL=1 adds selenium to .venv
	$(if $(INSTALL),$(BIN)/python -m pip install --quiet --disable-pip-version-check 'selenium>=4.27')
	$(PYTEST) -m browser tests/app/browser --timeout=900

lock: ## maintainers: pin the dependencies again (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra dev --extra widgets --extra exact --quiet -o requirements.lock pyproject.toml
