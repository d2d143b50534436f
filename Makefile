# make book   the book in _build/html (makes .venv first)
# make test   everything that CI runs
# make quick  lint and the library's tests, two minutes
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
# What jax has compiled serves all chapters and tests, and the next run: half of their time.
export JAX_COMPILATION_CACHE_DIR ?= $(abspath _build/jax)
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0.1

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

.PHONY: help env environments book pdf serve notebooks prose test quick lint format unit pairs nbval built site workflow check-all mutants ranks latest one-core bench readme-figure circle lock clean distclean

help:
	@echo "make book       build the book into $(SITE)"
	@echo "make test       everything that CI runs"
	@echo "make quick      lint and the library's tests alone, under two minutes once its kernels are compiled"
	@echo "make nbval      execute the chapters' notebooks again (make test compares what the built book put out)"
	@echo "make env        the environment alone, in $(VENV); make environments: that of the sweep, too"
	@echo "make pdf        the whole book as one PDF, _build/jacntk.pdf (needs Chromium)"
	@echo "make serve      the built book on http://localhost:$(PORT)"
	@echo "make notebooks  execute the chapters into book/notebooks (CHAPTER=03 for one)"
	@echo "make prose      take over changed words into book/notebooks, executing nothing (CHAPTER=03 for one)"
	@echo "make lint       style and import contracts (seconds; the extra 'dev' in $(VENV) is enough)"
	@echo "make format     let ruff lay out the code"
	@echo "make workflow   Snakemake in $(SNAKEMAKE), and the tests of the sweep (workflow/)"
	@echo "make check-all  what is too long for every commit, an hour or more: pdf and the five below"
	@echo "make mutants    do the tests notice errors put into a copy of the library?"
	@echo "make ranks      the theorem of Chapter 5 beside the ranks of ten thousand sets of points"
	@echo "make latest     the tests and a chapter with the newest versions allowed"
	@echo "make one-core   the chapters again on one core alone: the same text? (Linux)"
	@echo "make bench      speed beside peers and baselines (benchmarks/README.md; half an hour, stored in benchmarks/results)"
	@echo "make lock       the locks from what requirements.in asks for (needs uv)"
	@echo "make clean      remove the built book; make distclean: the environment, too"

# -- the environment: three steps, each skipped when done ---------------------------------------------------

env: $(ENVIRONMENT)

# that of the sweep too: after this nothing but `make latest`, `make bench` and `make lock` opens a connection
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
	@echo "Building the book: minutes when every chapter runs, half a minute when none has changed."
	@mkdir -p _build
	@$(BIN)/jupyter-book build . -W -n --keep-going $(QUIET) || { rm -rf _build/.doctrees; exit 1; }
	@touch $@

# the whole book as one file, through Chromium
pdf: book
	$(BIN)/jupyter-book build . --builder singlehtml -W -n --keep-going -q
	$(BIN)/python tools/printed.py

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(SITE) $(PORT)

notebooks: $(ENVIRONMENT)
	$(BIN)/python tools/notebooks.py write $(CHAPTER)

# after a change of words only: outputs stay as they are, and nbval finds those that a change of code has made wrong
prose: $(ENVIRONMENT)
	$(BIN)/jupytext --quiet --update --to notebooks//ipynb $(patsubst book/notebooks/%.ipynb,book/%.md,$(wildcard book/notebooks/$(CHAPTER)*.ipynb))

# -- the tests -----------------------------------------------------------------------------------------------

test: $(ENVIRONMENT)
	@$(call stage,lint,$(MAKE) --no-print-directory lint)
	@$(call stage,pairs,$(MAKE) --no-print-directory pairs)
	@$(call stage,book,$(MAKE) --no-print-directory book QUIET=-q)
	@$(call stage,unit,$(MAKE) --no-print-directory unit)
	@$(call stage,nbval,$(MAKE) --no-print-directory built)
	@$(call stage,site,$(MAKE) --no-print-directory site)
	@$(call stage,workflow,$(MAKE) --no-print-directory workflow)
	@echo; echo "All tests passed."

# where the extra `dev` alone is installed, it is enough: neither torch nor a browser's driver is waited for
lint: $(if $(wildcard $(BIN)/ruff),,$(ENVIRONMENT))
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/format_chapters.py --check
	$(BIN)/lint-imports --no-logo

format: $(ENVIRONMENT)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python tools/format_chapters.py

UNIT_TESTS := -n 2 --dist worksteal --doctest-modules jacntk_lib book/jacntk_book tests --ignore tests/browser --ignore tests/test_workflow.py
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout 600

# one thread per process, so that two processes do not fight over two cores
unit: $(ENVIRONMENT)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --durations 10 $(UNIT_TESTS)

# of the library alone: what tests the wing imports it
QUICK_TESTS := $(filter-out $(shell grep -l jacntk_book tests/test_*.py),$(wildcard tests/test_*.py))
# while you work on the library: neither book nor browser, nor the wing's experiments
quick: $(ENVIRONMENT)
	@$(call stage,lint,$(MAKE) --no-print-directory lint)
	@$(call stage,library,OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal $(QUICK_TESTS))

pairs: $(ENVIRONMENT)
	$(BIN)/python tools/notebooks.py check

# nbval's comparison of every text output with the stored one: of what the book put out, executing nothing again,
built: book
	$(BIN)/python -m pytest -q -p tools.built book/notebooks

# and of the notebooks executed again, in their own folder
nbval: $(ENVIRONMENT)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadscope $(NBVAL) book/notebooks

site: book
	JACNTK_REQUIRE_SITE=1 $(BIN)/python -m pytest -q -n 2 tests/browser

# the sweep: dry runs of the full grid, and a small one for real
workflow: $(ENVIRONMENT) $(SNAKEMAKE)/stamp
	JACNTK_SNAKEMAKE="$(abspath $(SNAKEMAKE)/bin/snakemake)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 tests/test_workflow.py

$(SNAKEMAKE)/stamp: workflow/requirements.lock
	@test -x $(SNAKEMAKE)/bin/python || "$(PYTHON)" -m venv $(SNAKEMAKE)
	@$(SNAKEMAKE)/bin/python -m pip install --quiet --disable-pip-version-check -r workflow/requirements.lock
	@touch $@

# -- what is too long for every commit -------------------------------------------------------------------------

check-all:
	$(MAKE) --keep-going mutants ranks latest one-core pdf bench

# errors put into a copy of the library, one at a time; each has to be noticed (tests/mutants/mutants.toml)
mutants: $(ENVIRONMENT)
	$(BIN)/python tools/mutants.py

# the theorem on positive definite kernels beside the certified ranks of ten thousand random sets of points
ranks: $(ENVIRONMENT)
	JACNTK_CONFIGURATIONS=10000 JACNTK_RANKS=benchmarks/results/ranks.json $(BIN)/python -m pytest -q tests/test_positivity.py

# The newest versions that pyproject.toml allows, in an environment of their own, beside the torch that TORCH asks for.
# Two tests ask for the locked versions themselves. Sphinx builds one page of many: no -W, since links lead elsewhere.
LATEST := .venv-latest/bin
latest:
	@test -x $(LATEST)/python || "$(PYTHON)" -m venv .venv-latest
	@$(LATEST)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	@$(LATEST)/python -m pip freeze --disable-pip-version-check | sed -n 's/^torch==\([^+]*\).*/torch==\1/p' > .venv-latest/torch.txt
	@$(LATEST)/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager --constraint .venv-latest/torch.txt --editable ".[book,test]"
	@echo "Not as locked:"; $(LATEST)/python -m pip freeze --exclude-editable | tr 'A-Z_' 'a-z-' | grep -vxFf <(cut -d ' ' -f 1 constraints.txt) || true
	OMP_NUM_THREADS=1 $(LATEST)/python -m pytest -q $(UNIT_TESTS) -k "not locked_versions and not what_requirements_in_asks_for"
	OMP_NUM_THREADS=1 $(LATEST)/python -m pytest -q $(NBVAL) book/notebooks/01-setup.ipynb
	@mkdir -p _build/latest && printf 'format: jb-book\nroot: book/01-setup\n' > _build/latest/one-page.yml
	$(LATEST)/jupyter-book build . --toc _build/latest/one-page.yml --path-output _build/latest -q

# as nbval, but on one core alone, so that no pool of any package has a second thread
one-core: $(ENVIRONMENT)
	OMP_NUM_THREADS=1 taskset --cpu-list 0 $(BIN)/python -m pytest -q $(NBVAL) book/notebooks

# Scripts that time compiling must compile, so no kernel compiled before serves them. Exit status 3 of a script means a
# missed target: reported at the end, no failure. Any other is a failure, and the scripts after it run all the same.
bench: $(ENVIRONMENT)
	@missed=; failed=; \
	for one in $(filter-out $(addprefix benchmarks/,report.py gradients.py preconditioners.py),$(wildcard benchmarks/[a-z]*.py)) benchmarks/report.py; do \
	  code=0; $(call stage,$$one,env -u JAX_COMPILATION_CACHE_DIR $(BIN)/python "$$one" || code=$$?); \
	  case $$code in 0) ;; 3) missed+=" $$one" ;; *) failed+=" $$one (exit status $$code)" ;; esac; \
	done; \
	echo; echo "targets missed:$${missed:- none}"; echo "failed:$${failed:- none}"; \
	test -z "$$failed"

# -- upkeep --------------------------------------------------------------------------------------------------

readme-figure: $(ENVIRONMENT)
	$(BIN)/python tools/readme_figure.py

# the still picture of the circle and the networks on it
circle: $(ENVIRONMENT)
	$(BIN)/python tools/circle.py

# what a lock pins already keeps its version; constraints.txt has the pins without hashes, which pip does not mix with
# what has none: conda's environment.yml and JupyterLab (README) take them from there
COMPILE := $(UV) pip compile --universal --generate-hashes --python-version 3.11 --no-annotate --custom-compile-command "make lock" --quiet
lock:
	$(COMPILE) --output-file requirements.lock requirements.in
	cd workflow && $(COMPILE) --output-file requirements.lock requirements.in
	{ sed -n 1p constraints.txt; grep == requirements.lock | sed 's/ \\$$//'; } > constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis .import_linter_cache

distclean: clean
	rm -rf $(VENV) .venv-latest $(SNAKEMAKE) jacntk.egg-info
