# Workings. `make help` lists what there is; every target is safe to repeat.
.DEFAULT_GOAL := help
.PHONY: help book pdf test check refresh serve bench new links lighthouse colab lock release lint mutants clean need-python env-book env-full env-peers

# The first Python that is new enough; say PYTHON=... to choose another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then echo $$p; break; fi; done)
# A Python that was named is used, also where another one has made the environment before.
NAMED := $(if $(filter command environment,$(firstword $(origin PYTHON))),--this-python)
# These would make Python look in other places than the project's environments.
unexport PYTHONPATH PYTHONSAFEPATH PYTHONHOME PYTHONSTARTUP
FULL := .venv/bin/python
BOOK := .venv-book/bin/python

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

book: env-book  ## set up the book's tools and compile the book into _build/html
	@PYTHONPATH=lib $(BOOK) tools/build_book.py

test: env-full  ## set up everything and run every test, in three stages summed up at the end
	@$(FULL) tools/run_tests.py $(ARGS)

check: env-full lint  ## the tests that a change of one chapter needs (NOTEBOOK=slug); `make test` has all
	@$(FULL) tools/run_tests.py --chapter "$(NOTEBOOK)" $(ARGS)

refresh: env-full  ## re-execute and re-pair what changed (NOTEBOOK=slug for one, ARGS=--force for all)
	@$(FULL) tools/contribute.py refresh $(NOTEBOOK) $(ARGS)

pdf: book  ## print the whole book as _build/workings.pdf (needs an installed Chromium or Chrome)
	@$(BOOK) tools/make_pdf.py

serve: book  ## serve the book at http://localhost:8000
	@$(BOOK) tools/serve.py $(or $(PORT),8000)

bench: env-peers  ## time the kernels beside the libraries a reader would pick instead
	@PYTHONWARNINGS=ignore OMP_NUM_THREADS=1 .venv-peers/bin/python benchmarks/run.py $(ARGS)

new: env-full  ## begin a chapter: make new PART=uncertainty SLUG=my_chapter
	@$(FULL) tools/contribute.py new "$(PART)" "$(SLUG)"

lighthouse: book  ## measure the built pages (needs npm's lighthouse: ARGS="--lighthouse PATH", and a Chromium)
	@PYTHONPATH=lib $(BOOK) tools/lighthouse.py $(ARGS)

links: env-book  ## ask every link of the book whether it is still alive (needs a network)
	@PYTHONPATH=lib $(BOOK) tools/build_book.py --links

colab: need-python  ## run every notebook as on Colab: this Python, the set-up cell, nothing else
	@$(PYTHON) tools/try_colab.py

lock: env-full  ## resolve requirements/*.in again and write the locks and environment.yml
	@$(FULL) tools/lock.py

release: env-full  ## commit and tag a version that the pages' links lead to (VERSION=0.2.0)
	@$(FULL) tools/contribute.py release $(VERSION)

lint: env-full  ## ruff, for style and for mistakes; import-linter, for who may import whom
	@$(FULL) -m ruff check . && $(FULL) -m ruff format --check --quiet . || \
		{ printf '\nMost of it mends itself: .venv/bin/ruff check --fix . && .venv/bin/ruff format .\n\n'; exit 1; }
	@said=$$(PYTHONPATH=lib $(dir $(FULL))lint-imports --no-cache) || { printf '%s\n' "$$said"; exit 1; }

mutants: env-full  ## do the tests notice small changes of the kernels? all of them (ARGS="--sample 15 --record"), or MODULE=lib/workings/PART/FILE.py
	@$(FULL) tools/mutants.py $(or $(MODULE) $(TESTS),--all) $(ARGS)

clean:  ## remove what was built (environments stay)
	@rm -rf _build book/generated book/assets/vendor

need-python:
	@test -n "$(PYTHON)" || { printf '\nWorkings needs Python 3.11, 3.12 or 3.13 and found none on the PATH.\nInstall one (python.org, your package manager, or conda), then run the same command again,\nor name it: make book PYTHON=/path/to/python3.11\n\n'; exit 1; }

env-book: need-python
	@$(PYTHON) tools/env.py book $(NAMED)
env-full: need-python
	@$(PYTHON) tools/env.py full $(NAMED)
env-peers: need-python
	@$(PYTHON) tools/env.py peers $(NAMED)
