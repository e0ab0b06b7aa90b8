# make demo        phantoms, from nothing to Tables I, II and III, on two processor cores
# make reproduce   the paper on BUSI (PROFILE=busi-scratch|busi-small|phantom selects another profile)
# make fetch       everything that PROFILE takes from the network, so that it runs without one; VERIFY=1 only checks
# make report      tables and report of PROFILE anew from results that are there, as after dvc pull; nothing is trained
# make bench       what the fast parts gain, as ratios on this machine
# make test        all tests;  make lint  style and types;  make lock  new requirements files
PROFILE ?= busi
PYTHON ?= python3
BIN := .venv/bin
export DVC_NO_ANALYTICS := 1
export DVC_SITE_CACHE_DIR := $(CURDIR)/.bench/dvc-site-cache
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Python that may not keep what it compiled compiles PyTorch and DVC anew in every stage, which takes seconds each.
unexport PYTHONDONTWRITEBYTECODE

# `bench` is a folder too.
.PHONY: demo reproduce fetch report bench test lint lock setup

demo: PROFILE := phantom
demo: reproduce

reproduce: $(BIN)/.run
	dvc repro report@$(PROFILE)
	@cat reports/$(PROFILE)/table1.md reports/$(PROFILE)/table2.md reports/$(PROFILE)/table3.md
	@echo "More in reports/$(PROFILE)/report.md"

fetch: $(BIN)/.run
	python -m bench fetch --profile $(PROFILE) $(if $(VERIFY),--verify)

report: $(BIN)/.run
	python -m bench tables --profile $(PROFILE)
	python -m bench report --profile $(PROFILE)
	dvc commit --force tables@$(PROFILE) report@$(PROFILE)

bench: $(BIN)/.run
	python -m bench.benchmarks

test: $(BIN)/.dev
	python -m pytest

lint: $(BIN)/.dev
	ruff check .
	ruff format --check .
	mypy

setup: $(BIN)/.dev

$(BIN)/uv: requirements/uv.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements/uv.txt
	@touch $@

$(BIN)/.run: requirements/run.txt $(BIN)/uv
	uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/run.txt
	@touch $@

$(BIN)/.dev: requirements/dev.txt $(BIN)/.run
	uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet
lock: $(BIN)/uv
	$(LOCK) pyproject.toml --extra pipeline --extra dev -o requirements/dev.txt
	$(LOCK) pyproject.toml --extra pipeline -c requirements/dev.txt -o requirements/run.txt
	echo "uv==$$(uv --version | cut -d' ' -f2)" | $(LOCK) - -o requirements/uv.txt
