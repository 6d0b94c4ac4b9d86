# The two commands: `make book` and `make test`. Both make the environment first, and both can run
# again without doing the work twice.

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

# PYTHON=… picks the interpreter; VENV=… an environment elsewhere.
PYTHON ?=
VENV ?= .venv
CHAPTER ?=
FORCE ?=
PORT ?= 8000
SET ?=
URL ?=
REV ?=
MINUTES ?= 12
PHOTOS ?=
OUT ?= _build/gpu
BIN := $(VENV)/bin
GPU_PYTHON ?= $(BIN)/python
HTML := _build/html
STAMP := $(VENV)/.installed
BUILT := $(HTML)/.built
RECORDS := $(shell find book/results -name '*.json')
SOURCES := _config.yml _toc.yml $(wildcard pyproject.toml) $(shell find $(wildcard book hybridlib) -type f -not -path '*/.*' -not -name '*.pyc')

help:
	@echo "make book       build the book"
	@echo "make serve      show it on http://127.0.0.1:$(PORT)/"
	@echo "make check      lint: Python, imports between rooms, types, JavaScript"
	@echo "make test       check, and run every test"
	@echo "make notebooks  run and store the chapters that changed (CHAPTER=01_… for one, FORCE=1)"
	@echo "make lab        open the chapters in JupyterLab"
	@echo "make env        make the Python environment ($(VENV))"
	@echo "make versions   try other versions of Python and the packages (SET=colab for one set)"
	@echo "make bench      measure the models beside their public peers (an hour), for book/speed.md"
	@echo "make gpu        record studies in the minutes of a GPU (MINUTES=12 PHOTOS=path)"
	@echo "make tables     show how the tables of the made pages differ from those of a commit (REV=main)"
	@echo "make address    write the book's address everywhere (URL=https://github.com/OWNER/NAME)"
	@echo "make clean      remove what was built"

env: $(STAMP)

$(STAMP): requirements.txt pyproject.toml
	@python=$$(bash book/tools/find_python.sh "$(PYTHON)"); \
	echo "Making the environment in $(VENV) with $$python"; \
	"$$python" -c "import ensurepip, venv" || { \
	  echo "Its venv module is missing; on Debian or Ubuntu: apt-get install python3-venv" >&2; \
	  exit 1; }; \
	"$$python" -m venv "$(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

book: $(BUILT)
	@echo "The book is up to date. Open $(CURDIR)/$(HTML)/index.html, or run: make serve"

book/claims.md: book/claims.json book/effects.json $(RECORDS) $(wildcard book/0*.ipynb) book/tools/claims.py book/tools/effects.py $(STAMP)
	@$(BIN)/python book/tools/claims.py

book/speed.md: book/results/bench_models.json book/tools/speed.py $(STAMP)
	@$(BIN)/python book/tools/speed.py

book/recorded.md: $(RECORDS) $(wildcard hybridlib/studies/*.py book/studies/*.md) book/tools/recorded.py $(STAMP)
	@$(BIN)/python book/tools/recorded.py

# From scratch each time, which takes seconds: an incremental build repeats no warning, keeps pages
# that are gone, and does not copy a changed style sheet.
$(BUILT): book/claims.md book/speed.md book/recorded.md $(STAMP) $(SOURCES)
	@rm -rf _build
	@$(BIN)/jupyter-book build . -q -W -n --keep-going > /dev/null
	@if [ -f pyproject.toml ]; then $(BIN)/python book/tools/offer_wheel.py $(HTML); fi
	@touch $@

serve: book
	@echo "Serving the book on http://127.0.0.1:$(PORT)/ (stop with Ctrl-C)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory $(HTML)

notebooks: env
	@$(BIN)/python book/tools/notebooks.py $(CHAPTER) $(if $(FORCE),--force)

# Their settings: pyproject.toml; .oxlintrc.json and .oxfmtrc.json for the JavaScript.
check: env
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check || { echo "Not in shape: ruff format" >&2; exit 1; }
	@said=$$($(BIN)/lint-imports --no-cache --no-logo) || { echo "$$said"; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/oxlint --quiet hybridlib/widgets book/site_assets
	@$(BIN)/oxfmt --check hybridlib/widgets book/site_assets > /dev/null || { \
	  echo "Not in shape: oxfmt hybridlib/widgets book/site_assets" >&2; exit 1; }

test: check book
	@$(BIN)/python book/tools/versions.py --install colab
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest --nbval --nbval-current-env \
	  -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder book tests

lab: env
	@$(BIN)/jupyter lab book

versions: env
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python book/tools/versions.py $(SET)

bench: env
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks models --threads 1 --json book/results/bench_models.json
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks latency --threads 1 --json book/results/bench_latency.json

# Also with another Python that has PyTorch and a GPU: make gpu GPU_PYTHON=python3
gpu:
	@$(GPU_PYTHON) book/tools/gpu.py --minutes $(MINUTES) $(if $(PHOTOS),--photos $(PHOTOS)) \
	  --out $(OUT)

# After a move that must leave every figure alone: the tables of the pages that are made from records, then and now.
tables: TABLES := '/^\#\# /p; /^|/p; /<table/,/<\/table>/p'
tables:
	@moved=0; for page in book/recorded.md book/speed.md; do \
	  diff -U2 --label "$$page at $(or $(REV),main)" --label "$$page now" \
	    <(git show "$(or $(REV),main):$$page" | sed -n $(TABLES)) \
	    <(sed -n $(TABLES) $$page) && echo "$$page: the same tables" || moved=1; \
	done; exit $$moved

address: env
	@$(BIN)/python book/tools/address.py "$(URL)" $(REV)

clean:
	rm -rf _build build

.PHONY: help env book serve notebooks check test lab versions bench gpu tables address clean
