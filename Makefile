# Every target makes the environment it needs in .venv first: once, and again when pyproject.toml or constraints.txt change.

PYTHON  ?= python3.11
WORKERS ?= 2
MODEL   ?= multi_texture

BIN      := .venv/bin
INTARSIA := $(BIN)/intarsia
# Without --no-compile half the set-up time goes into byte code that is never imported.
INSTALL  := $(BIN)/python -m pip install -qq --no-input --no-compile --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test wheel campaign docs lint types bench

help:   ## List the targets
	@sed -n 's/^\([a-z]*\): .*## /  make \1	/p' Makefile

demo: .venv/runtime.stamp  ## Take a test scene apart and move one of its objects: MODEL=multi_texture comes with the package
	$(INTARSIA) demo $(MODEL) --scene 2 --overwrite
	@echo "Now open the studio, or train a model from scratch:"
	@echo "  $(INTARSIA) serve $(MODEL)"
	@echo "  $(INTARSIA) train multi_texture/compact --vaes.steps 0"

test: .venv/dev.stamp .venv/chromium.stamp  ## Run the tests: WORKERS=2, one thread each; ARGS='-k masks' for a part
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

wheel: $(BIN)/pip  ## Build the wheel, install it with the studio in a clean environment, and use it there
	$(BIN)/python .ci/wheel.py constraints.txt

campaign: .venv/dev.stamp  ## Stop and starve every command, feed damaged files to every reader, count violations: ARGS='--minutes 5'
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.campaigns $(ARGS)

docs: .venv/dev.stamp  ## Build the documentation site in build/site; a dead link or an undocumented public name fails
	NO_MKDOCS_2_WARNING=1 OMP_NUM_THREADS=1 $(BIN)/python -m mkdocs build --quiet --strict

lint: .venv/dev.stamp  ## Check rules and layout of the code
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/dev.stamp  ## Check the types
	$(BIN)/mypy

bench: .venv/dev.stamp  ## Run every program in benchmarks/, one after the other
	@set -e; for program in $(sort $(wildcard benchmarks/*.py)); do \
		echo "$(BIN)/python $$program"; $(BIN)/python $$program; done

# pip is the last thing venv puts there, so an attempt that broke off is made again.
$(BIN)/pip:
	$(PYTHON) -m venv .venv

# Debian's browser, for the tests of the studio's page; where it can't be had, they are skipped and say so.
.venv/chromium.stamp: | .venv/dev.stamp
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& { apt-get install -yqq --no-install-recommends chromium || { apt-get update -qq && apt-get install -yqq --no-install-recommends chromium; }; } >/dev/null; } \
		|| echo "No chromium, and no right to install it: the studio's page is NOT TESTED. As root: apt-get install chromium"
	@touch $@

# The second stamp waits for the first, so that two pips never write to one environment under `make -j`.
.venv/runtime.stamp: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) -e '.[studio]'
	@touch $@

.venv/dev.stamp: .venv/runtime.stamp
	$(INSTALL) -e '.[dev,docs,hub,notebook,onnx,rooms,studio,tensorboard]'
	@touch $@
