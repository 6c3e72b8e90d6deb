# The two commands are `make train` and `make test`. Both need a Rust toolchain and Python 3.11 or newer, say so if one
# is missing, and keep everything they make in .venv/, target/ and wheels/.
#
#   make train   build, install, train the convolutional network on MNIST      make wheel   build the release wheel
#   make test    build and run every test                                      make dev     quick build into .venv
#   make bench   compare with PyTorch, write a table                           make lint    formats, lints, types
#   make peers   the tests that compare with PyTorch                           make clean   remove what was made
#   make instructions   count the instructions of everyday calls into benches/instructions.json
#
# PYTHON=/path/to/python chooses the interpreter, RUSTNN_DATA=folder the data (see README), ARGS=... goes to the script.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

export PATH := $(PATH):$(HOME)/.cargo/bin
RUST := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
VENV ?= .venv
PEERS_VENV ?= .venv-peers
ARGS ?=
ifndef RUSTNN_DATA
ifneq ($(wildcard ../shared/data),)
export RUSTNN_DATA := $(abspath ../shared/data)
endif
endif

NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if command -v $$p >/dev/null && $$p -c '$(NEW_ENOUGH)' 2>/dev/null; then command -v $$p; break; fi; done)

RUST_SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find rust -name '*.rs' -o -name Cargo.toml)
SOURCES := $(RUST_SOURCES) $(shell find python -name '*.py' -o -name '*.pyi' -o -name py.typed)
# The extension crate is tested from Python; the benches crate has no tests.
CRATES := --workspace --exclude rustnn-py --exclude rustnn-benches

.PHONY: help train test test-rust test-python bench instructions wheel dev lint peers clean tools

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

# What is missing, by name and with what to do.
tools:
	@missing=0
	miss() { echo "make: $$1" >&2; missing=1; }
	if ! command -v cargo >/dev/null; then
	  miss "cargo is missing: install the Rust toolchain ($(RUST) or newer) from https://rustup.rs, then open a new shell."
	elif ! version=$$(cargo --version 2>&1); then
	  miss "cargo is there but does not run ($$version): try 'rustup default stable'."
	else
	  have=$$(echo "$$version" | sed 's/^cargo \([0-9]*\.[0-9]*\).*/\1/')
	  if [ "$$(printf '$(RUST)\n%s\n' "$$have" | sort -V | head -1)" != $(RUST) ]; then
	    miss "cargo $$have is too old, $(RUST) or newer is needed: run 'rustup update stable'."
	  fi
	fi
	if ! command -v cc >/dev/null && ! command -v gcc >/dev/null; then
	  miss "a C compiler (the linker that Rust uses) is missing: on Debian or Ubuntu 'apt-get install gcc libc6-dev'."
	fi
	if [ -z "$(PYTHON)" ]; then
	  found=$$(command -v python3 >/dev/null && python3 --version || echo none)
	  miss "Python 3.11 or newer is missing (found: $$found): install it, or name one with 'make PYTHON=/path/to/python3 ...'."
	elif ! "$(PYTHON)" -c '$(NEW_ENOUGH)' 2>/dev/null; then
	  miss "PYTHON=$(PYTHON) is not a Python of version 3.11 or newer."
	elif [ ! -x $(VENV)/bin/python ] && ! "$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null; then
	  miss "$(PYTHON) cannot make virtual environments: on Debian or Ubuntu 'apt-get install python3-venv'."
	fi
	exit $$missing

$(VENV)/.made: | tools
	@echo "making $(VENV) with $(PYTHON)"
	"$(PYTHON)" -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install -q 'maturin>=1.9,<2'
	touch $@

wheels/.made: $(SOURCES) $(VENV)/.made | tools
	@rm -rf wheels
	mkdir -p wheels
	$(VENV)/bin/maturin build --release --interpreter $(VENV)/bin/python --out wheels
	touch $@

wheel: wheels/.made
	@ls -l wheels/*.whl

# $(call install,venv,extras): the wheel just built, and what its extras need.
define install
	echo "installing rustnn[$(2)] into $(1)"
	$(1)/bin/python -m pip install -q "$$(ls wheels/*.whl)[$(2)]"
	$(1)/bin/python -m pip install -q --force-reinstall --no-deps wheels/*.whl
	touch $@
endef

$(VENV)/.installed-train: wheels/.made
	@$(call install,$(VENV),train)

$(VENV)/.installed-test: wheels/.made
	@$(call install,$(VENV),train$(comma)test)

comma := ,

train: $(VENV)/.installed-train
	@$(VENV)/bin/python examples/mnist.py --epochs 10 $(ARGS)

test: test-rust test-python

# Kernels run optimised in this profile too; doc examples are not known to nextest.
test-rust: | tools
	@if cargo nextest --version >/dev/null 2>&1; then
	  cargo nextest run $(CRATES)
	  cargo test $(CRATES) --doc
	else
	  cargo test $(CRATES)
	fi

test-python: $(VENV)/.installed-test
	@$(VENV)/bin/python -m pytest tests -n 2 $(ARGS)

# PyTorch and torchvision are large and needed by nothing else: they live in an environment of their own.
$(PEERS_VENV)/.made: | tools
	@echo "making $(PEERS_VENV) (PyTorch and torchvision, several GB)"
	"$(PYTHON)" -m venv --clear $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip install -q torch torchvision
	touch $@

$(PEERS_VENV)/.installed: wheels/.made $(PEERS_VENV)/.made
	@$(call install,$(PEERS_VENV),train$(comma)test)

peers: $(PEERS_VENV)/.installed
	@files=$$(grep -rlE "importorskip\(.torch|mark\.peer" tests --include='test_*.py' || true)
	if [ -n "$$files" ]; then $(PEERS_VENV)/bin/python -m pytest $$files -n 2 $(ARGS); fi

bench: $(PEERS_VENV)/.installed
	@$(PEERS_VENV)/bin/python benches/run.py $(ARGS)

# On the release wheel, under valgrind; ARGS=--check compares with the record instead of writing it.
instructions: $(VENV)/.installed-test
	@$(VENV)/bin/python benches/instructions.py $(ARGS)

# Optimised kernels, quick compile; Python files are used from the source tree.
dev: $(VENV)/.made
	@VIRTUAL_ENV=$(abspath $(VENV)) $(VENV)/bin/maturin develop --extras train,test

lint: $(VENV)/.installed-test
	@$(VENV)/bin/python -m pip install -q 'ruff>=0.9' 'mypy>=1.13'
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy --strict python/rustnn
	if [ -f python/rustnn/_C.pyi ]; then
	  allow=tests/stubtest-allowlist.txt
	  $(VENV)/bin/python -m mypy.stubtest rustnn._C --ignore-unused-allowlist $$([ -f $$allow ] && echo --allowlist $$allow)
	fi

clean:
	rm -rf $(VENV) $(PEERS_VENV) wheels target .pytest_cache .mypy_cache .ruff_cache .benchmarks
