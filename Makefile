# Everything here needs git, make and Python 3.11 or newer; the rest comes, pinned by
# hash, from requirements/dev.lock into .venv.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# One more than there are cores: many tests wait for the processes that they start.
JOBS ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links

# Programs start in a third of the time when Python may keep what it compiled.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test failures check proto docs bench lock clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: $(READY) ## run an exchange, follow eight tips through it, and prove it
	@$(BIN)/python -m tools.demo

test: $(READY) ## run the tests; ARGS="-k name" narrows them
	@$(BIN)/pytest --numprocesses $(JOBS) --dist worksteal $(ARGS)

failures: $(READY) ## break things under an exchange, and write what was seen
	@$(BIN)/python -m tools.failures $(ARGS)

check: $(READY) ## lint, types, import directions, contract, generated files, links
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code proto
	$(BIN)/python tools/protos.py breaking
	$(BIN)/python tools/protos.py drift
	$(BIN)/python tools/docs.py --check
	$(BIN)/python tools/links.py

proto: $(READY) ## format proto/ and regenerate the stubs
	$(BIN)/buf format --write proto
	$(BIN)/python tools/protos.py generate

docs: $(READY) ## write the reference pages that the code determines
	@$(BIN)/python tools/docs.py

bench: $(READY) ## measure beside a bare gRPC echo; ARGS="--quick" takes a look
	@$(BIN)/python -m bench $(ARGS)

lock: $(READY) ## resolve the dependencies again; UPGRADE=--upgrade takes the newest
	$(COMPILE) $(UPGRADE) --extra server --group dev -o requirements/dev.lock
	$(COMPILE) -c requirements/dev.lock --extra server -o requirements/server.lock
	$(COMPILE) -c requirements/dev.lock -o requirements/sdk.lock

clean: ## remove .venv and everything that can be made again
	rm -rf .venv build dist demo-out failures-out .hypothesis .import_linter_cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements/dev.lock pyproject.toml tools/protos.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Onward needs Python 3.11 or newer, and '$(PYTHON)' is not:" \
			"name one that is, as in: make PYTHON=python3.11 ..." >&2; exit 1; }
	@echo "setting up .venv (once per lock file)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/python tools/protos.py imports
	@touch $@
