# Needs make and a Python from 3.11 with pip; all else is set up below .venv from requirements.lock.
# Another Python: make PYTHON=python3.13 run.  Arguments for a tool: make test ARGS="-k cards".

PYTHON ?= python3
BIN := .venv/bin
UV := uv==0.13.9
INTO_VENV := --python $(BIN)/python

# pip's remarks help nobody here, a slow mirror is no failure, and a campus network may have its own
# certificate authority.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export UV_HTTP_TIMEOUT ?= 120
export UV_SYSTEM_CERTS ?= 1
# Compiled modules are kept: they make the second start a quick one.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test lint late money roster subsidies walk year openapi lock clean browser moved

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/.stamp ## Set up and start the demo; Ctrl-C ends it, its data stays in var/
	@exec $(BIN)/campus-card demo $(ARGS)

# Three workers on two processors: one of them mostly waits (tests/conftest.py, WAITING).
test: .venv/.stamp browser ## Set up, lint and run every test
	@mkdir -p var; $(MAKE) --no-print-directory lint >var/lint.log 2>&1 & lint=$$!; \
	$(BIN)/pytest -n 3 $(ARGS); tested=$$?; \
	wait $$lint; linted=$$?; cat var/lint.log; [ $$tested$$linted = 00 ]

lint: .venv/.stamp ## Check style, types and the direction of imports
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

late: .venv/.stamp ## Upload 10,000 offline decisions over lines that break, and print what became of them
	@LATE_ITEMS=$${LATE_ITEMS:-10000} $(BIN)/pytest -q -s tests/faults -k recorded_once $(ARGS)

roster: .venv/.stamp ## Import a roster of 20,000 people, one row in a hundred broken, twice over
	@ROSTER_ROWS=20000 $(BIN)/pytest -q -s tests/backend/holders/test_roster.py -k again_changes_nothing $(ARGS)

money: .venv/.stamp ## Do 1,000 top-ups and 200 refunds with every fault on, programs killed, and print the books
	@MONEY_TOP_UPS=$${MONEY_TOP_UPS:-1000} $(BIN)/pytest -q -s tests/faults/test_money.py $(ARGS)

walk: .venv/.stamp ## Do 5,000 random operations by everybody, and print what each was answered with
	@WALK_STEPS=$${WALK_STEPS:-5000} $(BIN)/pytest -q -s tests/walk $(ARGS)

year: .venv/.stamp ## Let a small college live a year, day by day over HTTP, and print what happened when
	@EVERY_DAY=1 $(BIN)/pytest -q -s tests/journeys/test_year.py $(ARGS)

subsidies: .venv/.stamp ## Pay subsidies to 10,000 holders by workers that are killed, and print how long it took
	@SUBSIDY_ITEMS=$${SUBSIDY_ITEMS:-10000} $(BIN)/pytest -q -s tests/faults/test_subsidies.py $(ARGS)

openapi: .venv/.stamp ## Write openapi/ anew from the code
	$(BIN)/campus-card openapi

lock: .venv/.stamp ## Resolve requirements.lock anew (ARGS=--upgrade for newer versions)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    --extra dev --output-file requirements.lock $(ARGS) pyproject.toml

clean: ## Remove the virtual environment, all caches and the demo's data
	rm -rf .venv var .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last and holds the path it was made for: a set-up that failed, was killed or
# whose checkout has moved is done again. uv is quick; where it has no wheel or no way out, pip does it.
.venv/.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Campus Card needs Python 3.11 or newer: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { \
	    echo "Campus Card needs pip: install it (Debian: apt-get install python3-pip)." >&2; exit 1; }
	@echo "Setting up .venv ..."
	@rm -f $@; $(BIN)/python -c '' 2>/dev/null || { rm -rf .venv; $(PYTHON) -m venv --without-pip .venv; }
	@[ -w "$$HOME" ] || export UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1; \
	index=$${PIP_INDEX_URL:-$$($(PYTHON) -m pip config get global.index-url 2>/dev/null)}; \
	if [ "$$index" ]; then export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$index}"; fi; \
	pip="$(PYTHON) -m pip $(INTO_VENV) install --quiet"; \
	fill() { \
	    "$$@" --no-deps --require-hashes --requirement requirements.lock && "$$@" --no-deps --editable .; \
	}; \
	{ $$pip $(UV) && fill $(BIN)/uv pip install --quiet $(INTO_VENV); } || \
	{ echo "uv could not do it; trying pip, which takes a few minutes ..." >&2; fill $$pip; }
	@echo '$(CURDIR)' >$@

ifneq ($(shell cat .venv/.stamp 2>/dev/null),$(CURDIR))
.venv/.stamp: moved
moved:
	@[ ! -f .venv/.stamp ] || rm -rf .venv
endif

browser:
	@for name in chromium chromium-browser google-chrome; do \
	    command -v $$name >/dev/null && fc-list :lang=zh 2>/dev/null | grep -q . && exit 0; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium and Chinese fonts for the browser tests ..."; \
	    mkdir -p var; export DEBIAN_FRONTEND=noninteractive; \
	    timeout 600 sh -c 'apt-get update && apt-get -o DPkg::Lock::Timeout=60 install -y \
	        --no-install-recommends chromium fontconfig fonts-noto-cjk' >var/browser.log 2>&1 && exit 0; \
	    echo "That failed, see var/browser.log." >&2; \
	fi; \
	echo "No Chromium with Chinese fonts: the browser tests will be skipped." >&2
