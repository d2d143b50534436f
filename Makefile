# make book   the book in _build/html (makes .venv first)
# make test   everything that CI runs
# make help   the rest
#
# Settings: PYTHON=python3.12   TORCH=torch (another build of torch, see README)   VENV=/elsewhere   CHAPTER=03

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

TORCH ?= torch==2.13.0
VENV ?= .venv
# The stored notebook outputs were made with 3.11; 3.12 and 3.13 run the same pins.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
UV ?= uv
CHAPTER ?=
PORT ?= 8000

# Threads that wait sleep rather than spin: on a busy machine torch's small products are fifteen times faster so.
export OMP_WAIT_POLICY ?= PASSIVE

BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
ENVIRONMENT := $(STAMPS)/project
# Snakemake and what it needs; the jobs it starts run the project's Python
SNAKEMAKE := $(VENV)-workflow
SITE := _build/html
FIRST_PAGE = $(abspath $(SITE))/book/intro.html
SOURCES := $(shell find book jacntk_lib benchmarks/results _config.yml _toc.yml -type f -not -path '*/__pycache__/*' -not -path '*/.ipynb_checkpoints/*')

# $(call stage,NAME,COMMAND) runs a command and says how long it took.
stage = echo; echo "== $(1)"; start=$$SECONDS; $(2); echo "== $(1): $$((SECONDS - start)) s"

.PHONY: help env environments book pdf serve notebooks prose test lint format contracts unit pairs nbval site workflow latest check-all mutants bench readme-figure lock clean distclean

help:
	@echo "make book       build the book into $(SITE)"
	@echo "make test       everything that CI runs"
	@echo "make env        the environment alone, in $(VENV); make environments: that of the sweep, too"
	@echo "make pdf        the whole book as one PDF, _build/jacntk.pdf (needs Chromium)"
	@echo "make serve      the built book on http://localhost:$(PORT)"
	@echo "make notebooks  execute the chapters into book/notebooks (CHAPTER=03 for one)"
	@echo "make prose      the same where only words have changed: executes nothing"
	@echo "make lint       style and import contracts (seconds)"
	@echo "make format     let ruff lay out the code"
	@echo "make workflow   Snakemake in $(SNAKEMAKE), and the tests of the sweep (workflow/)"
	@echo "make check-all  what is too long for every commit: an hour or more (STEP=certificate for one step)"
	@echo "make latest     the tests and a chapter with the newest versions allowed"
	@echo "make mutants    do the tests notice 40 errors put into a copy of the library?"
	@echo "make bench      speed beside peers and baselines (benchmarks/README.md; half an hour, stored in benchmarks/results)"
	@echo "make lock       the locks and environment.yml from what requirements.in asks for (needs uv)"
	@echo "make clean      remove the built book; make distclean: the environment, too"

# -- the environment: three steps, each skipped when done ---------------------------------------------------

env: $(ENVIRONMENT)

# that of the sweep too: after this nothing but `make latest`, `make check-all` and `make lock` opens a connection
environments: $(ENVIRONMENT) $(SNAKEMAKE)/stamp

$(STAMPS)/lock: requirements.lock
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed, {sys.executable} is {v.major}.{v.minor}: say make PYTHON=/path/to/python3.11")'
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@echo "Making the environment in $(VENV): about 5 minutes and 3 GB, once."
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@mkdir -p $(STAMPS) && touch $@

# its name holds the request, so that another TORCH installs again
TORCH_STAMP := $(STAMPS)/torch-$(shell printf '%s' '$(TORCH)' | tr -c 'A-Za-z0-9._\n-' '_')
$(TORCH_STAMP): $(STAMPS)/lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	@rm -f $(STAMPS)/torch-* && touch $@

$(ENVIRONMENT): $(TORCH_STAMP) pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# -- the book ------------------------------------------------------------------------------------------------

book: $(ENVIRONMENT) _build/book.stamp
	@echo "The book is built. Its first page: $(FIRST_PAGE)"

# After a failure the parsed pages are dropped: Sphinx would not repeat their warnings, and pass the next time.
_build/book.stamp: $(SOURCES) requirements.lock $(ENVIRONMENT)
	@echo "Building the book: about 6 minutes when every chapter runs, half a minute when none has changed."
	@mkdir -p _build
	@$(BIN)/jupyter-book build . -W -n --keep-going $(QUIET) || { rm -rf _build/.doctrees; exit 1; }
	@touch $@

# the whole book as one file, through Chromium
pdf: book
	$(BIN)/python tools/printed.py

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(SITE) $(PORT)

notebooks: $(ENVIRONMENT)
	$(BIN)/python tools/notebooks.py write $(CHAPTER)

# after a change of words only: nothing is executed
prose: $(ENVIRONMENT)
	$(BIN)/python tools/notebooks.py prose $(CHAPTER)

# -- the tests -----------------------------------------------------------------------------------------------

test: $(ENVIRONMENT)
	@$(call stage,lint,$(MAKE) --no-print-directory lint)
	@$(call stage,pairs,$(MAKE) --no-print-directory pairs)
	@$(call stage,book,$(MAKE) --no-print-directory book QUIET=-q)
	@$(call stage,unit,$(MAKE) --no-print-directory unit)
	@$(call stage,nbval,$(MAKE) --no-print-directory nbval)
	@$(call stage,site,$(MAKE) --no-print-directory site)
	@$(call stage,workflow,$(MAKE) --no-print-directory workflow)
	@echo; echo "All tests passed."

lint: $(ENVIRONMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/format_chapters.py --check
	$(BIN)/lint-imports --no-logo

format: $(ENVIRONMENT)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python tools/format_chapters.py

# one thread a process, so that two processes do not fight over two cores
unit: $(ENVIRONMENT)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal --durations 10 --doctest-modules jacntk_lib tests --ignore tests/browser --ignore tests/test_workflow.py

pairs: $(ENVIRONMENT)
	$(BIN)/python tools/notebooks.py check

# the chapters' notebooks run again, every text output compared with the stored one
nbval: $(ENVIRONMENT)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadscope --nbval --nbval-current-env --nbval-cell-timeout 600 book/notebooks

site: book
	JACNTK_REQUIRE_SITE=1 $(BIN)/python -m pytest -q -n 2 tests/browser

# the sweep: dry runs of the full grid, and a small one for real
workflow: $(ENVIRONMENT) $(SNAKEMAKE)/stamp
	JACNTK_SNAKEMAKE=$(abspath $(SNAKEMAKE)/bin/snakemake) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_workflow.py

$(SNAKEMAKE)/stamp: workflow/requirements.lock
	@test -x $(SNAKEMAKE)/bin/python || "$(PYTHON)" -m venv $(SNAKEMAKE)
	@$(SNAKEMAKE)/bin/python -m pip install --quiet --disable-pip-version-check -r workflow/requirements.lock
	@touch $@

# the newest versions allowed, in an environment of their own: reports what breaks, fails only if there is nothing to
# report. A TORCH given by hand is taken as it is.
latest: $(ENVIRONMENT)
	$(BIN)/python tools/latest.py $(if $(filter file,$(origin TORCH)),,--torch "$(TORCH)")

# what is too long for every commit; STEP=certificate for one of its steps, tests/check-all.json for the last outcome
STEP ?=
check-all: $(ENVIRONMENT)
	$(BIN)/python tools/check_all.py $(STEP)

# errors put into a copy of the library, one at a time; each has to be noticed (tests/mutants/mutants.toml)
mutants: $(ENVIRONMENT)
	$(BIN)/python tools/mutants.py

# Exit status 3 of a script means a missed target: reported at the end, no failure. Any other is a failure, and the
# scripts after it run all the same.
bench: $(ENVIRONMENT)
	@missed=; failed=; \
	for one in $(filter-out benchmarks/report.py,$(wildcard benchmarks/[a-z]*.py)) benchmarks/report.py; do \
	  code=0; $(call stage,$$one,$(BIN)/python "$$one" || code=$$?); \
	  case $$code in 0) ;; 3) missed+=" $$one" ;; *) failed+=" $$one (exit status $$code)" ;; esac; \
	done; \
	echo; echo "targets missed:$${missed:- none}"; echo "failed:$${failed:- none}"; \
	test -z "$$failed"

# -- upkeep --------------------------------------------------------------------------------------------------

readme-figure: $(ENVIRONMENT)
	$(BIN)/python tools/readme_figure.py

lock:
	python3 tools/lock.py --uv "$(UV)"

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis .import_linter_cache

distclean: clean
	rm -rf $(VENV) .venv-latest $(SNAKEMAKE) jacntk.egg-info
