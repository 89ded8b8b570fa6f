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
.PHONY: help install demo test check format docs sim bench clean

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

demo: install ## the GitHub example: real webhooks in, two systems out, with faults on the way
	@$(BIN)/python examples/github_to_two_systems/run.py $(ARGS)

test: install ## all tests, a short simulation among them (ARGS='-k lane' for some)
	@$(BIN)/python -m pytest -q -n 2 $(ARGS)

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

docs: install ## write the pages of the reference that come from the code
	@$(BIN)/python docs/reference/build.py

sim: install ## the engine under seeded faults: SEEDS=1000, or SEED=S to replay one
	@$(BIN)/python -m interlock.testing.sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

bench: install ## rates as ratios of one run on this machine (ONLY=intake for one)
	@$(BIN)/python -m bench $(ONLY) $(ARGS)

clean: ## remove the environment and every cache
	@rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
