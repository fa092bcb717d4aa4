# Everything from a fresh checkout, with Python 3.11 or later, make and (better) a C compiler.
# Each target sets up what it needs; a second run starts at once. Works with make 3.81 and BSD tools.

# make PYTHON=python3.12 ... uses that one, in a virtual environment of its own.
PYTHON ?=
VENV ?= .venv$(if $(PYTHON),-$(notdir $(PYTHON)))
# Passed on to pytest, the demo or the benchmarks: make test ARGS="-k route -x"
ARGS ?=
# Some systems have a NAME in the environment, so only make demo NAME=... counts.
DEMO := $(if $(filter command,$(firstword $(origin NAME))),$(NAME),greeter)

BIN := $(VENV)/bin
EXTENSIONS := $(wildcard ext/*.py ext/*.pyx ext/*.pxd)
STUBBED := $(patsubst pyrpc_xds/%.pyi,pyrpc_xds.%,$(wildcard pyrpc_xds/*.pyi))
# Cython adds members of its own, and a stub may leave out what is internal.
STUBTEST := stubtest --concise --mypy-config-file pyproject.toml --ignore-missing-stub --ignore-disjoint-bases
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test check bench format setup clean distclean

help: ## this list
	@if [ -t 1 ]; then on=$$(printf '\033[36m'); off=$$(printf '\033[0m'); fi; \
	awk -v on="$$on" -v off="$$off" -F ':.*## ' \
	    '/^[a-z]+:.*## / { printf "  %smake %-10s%s %s\n", on, $$1, off, $$2 }' Makefile

demo: $(VENV)/.built ## play a scenario with every part: make demo [NAME=greeter]
	@$(BIN)/pyrpc-xds demo $(DEMO) $(ARGS)

test: $(VENV)/.built ## all tests: make test [ARGS="-k route"]
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.built ## style, types (strict), Cython and stubs
	@PATH="$(abspath $(BIN)):$$PATH"; status=0; \
	run() { printf '==> %s\n' "$$*"; "$$@" || status=1; }; \
	run ruff check .; \
	run ruff format --check --quiet .; \
	run mypy; \
	if [ -n "$(EXTENSIONS)" ]; then run cython-lint $(EXTENSIONS); fi; \
	if [ -n "$(STUBBED)" ]; then run $(STUBTEST) $(STUBBED); fi; \
	exit $$status

bench: $(VENV)/.built ## ours beside its rivals: make bench [ARGS="--quick --only thrift"]
	@$(BIN)/python -m benchmarks.run $(ARGS)

format: $(VENV)/.built ## put every file into the project's form
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

setup: $(VENV)/.built ## the virtual environment and the compiled modules, without running anything

clean: ## remove what was built; the virtual environment stays
	@rm -rf build dist pyrpc_xds.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@rm -f $(VENV)/.built pyrpc_xds/_*.so $(patsubst ext/%,pyrpc_xds/%,$(wildcard ext/*.py))
	@find pyrpc_xds ext tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## remove the virtual environments as well
	@rm -rf .venv .venv-*

# One stamp a step, each inside the virtual environment that it describes.
$(VENV)/.python:
	@set -e; \
	python=; \
	for candidate in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	    if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        python=$$candidate; break; \
	    fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "No Python 3.11 or later found: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; \
	fi; \
	echo "==> $(VENV): $$($$python --version)"; \
	if ! $$python -m venv --clear $(VENV) >/dev/null 2>&1; then \
	    $$python -m venv --clear --without-pip $(VENV) && \
	    $$python -m pip --quiet --python $(BIN)/python install pip || { \
	        echo "$$python has neither ensurepip nor pip: install them (Debian: apt install python3-venv)" >&2; \
	        rm -rf $(VENV); exit 1; }; \
	fi
	@touch $@

# Dependency groups need pip 25.1. The package itself is installed once the tools to build it are there.
$(VENV)/.installed: pyproject.toml setup.py $(VENV)/.python
	@echo "==> dependencies"
	@$(PIP) install --upgrade "pip>=25.1"
	@$(PIP) install --group dev
	@PYTHONWARNINGS=ignore $(PIP) install --no-build-isolation --editable ".[all]"
	@touch $@

# pip hides what a build prints; here the warning of a machine without a C compiler is seen.
$(VENV)/.built: setup.py $(EXTENSIONS) $(VENV)/.installed
	@echo "==> compiled modules"
	@$(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@
