# The developer interface. Every target sets up what it needs: a fresh clone wants only Python 3.11+, a C compiler and
# a package index.

PYTHON ?= $(shell for each in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$each -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
BIN := .venv/bin
INTERLOCK := $(BIN)/interlock
SEEDS ?= 1000
ARGS ?=
ONLY ?=

.DEFAULT_GOAL := help
.PHONY: help install compiled demo test check format docs site sim bench clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do \
		printf '  make %-9s %s\n' "$$name" "$$what"; done

# The console script is the stamp: it is newer than pyproject.toml exactly when the environment is up to date.
$(INTERLOCK): pyproject.toml
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer is needed, with its venv module; name it: make PYTHON=...' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'Installing into .venv ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

install: $(INTERLOCK) ## .venv with the package, its command and the developer's tools
	@:

# What ships as a wheel, unpacked: the package with its hot path compiled.
COMPILED := build/compiled
$(COMPILED)/interlock: hatch_build.py pyproject.toml $(shell find src -type f -not -name '*.pyc') | install
	@echo 'Compiling into $(COMPILED) ...'
	@rm -rf build/wheel $(COMPILED) && mkdir -p build
	@HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 $(BIN)/python -m hatchling build -t wheel -d build/wheel >build/compiled.log 2>&1 \
		|| { cat build/compiled.log; exit 1; }
	@$(BIN)/python -m zipfile -e build/wheel/*.whl $(COMPILED)
	@touch $@

compiled: install $(COMPILED)/interlock ## build/compiled: the wheel that ships, with its hot path as C
	@:

demo: install ## a shop and three systems in trouble, told and counted (ARGS='--headless --assert --speed 8')
	@$(INTERLOCK) demo $(ARGS)

# With ARGS it is somebody's loop at work: the source alone. Without, everything, on what ships as well.
test: install $(if $(ARGS),,compiled) ## all tests, on the source and compiled (ARGS='-k lane': some, on the source)
	@$(BIN)/python -m pytest -q -n 2 $(ARGS)
ifeq ($(strip $(ARGS)),)
	@PYTHONPATH=$(CURDIR)/$(COMPILED) $(BIN)/python -m pytest -q -n 2 -o pythonpath='$(COMPILED) . $(wildcard examples/*)' \
		tests/unit tests/contract tests/fuzz tests/sim tests/e2e examples --ignore tests/e2e/test_pages.py
endif

check: install ## format, lint, types, import contracts, house style
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/basedpyright
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q tests/test_tidy.py tests/docs

format: install ## let ruff format and mend what it can
	@$(BIN)/ruff format --quiet
	@$(BIN)/ruff check --quiet --fix

docs: install ## write the pages that come from the code
	@$(BIN)/python docs/reference/build.py

site: install ## build/site: the documentation to be read in a browser; a broken link fails
	@$(BIN)/python docs/site/build.py

sim: install ## the engine under seeded faults: SEEDS=1000, or SEED=S to replay one
	@$(BIN)/python -m interlock.testing.sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

bench: install compiled ## rates as ratios of one run on this machine (ONLY=intake for one)
	@PYTHONPATH=$(CURDIR)/$(COMPILED) $(BIN)/python -m bench $(ONLY) $(ARGS)

clean: ## remove the environment and every cache
	@rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
