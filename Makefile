# make demo        phantoms, from nothing to Tables I, II and III, on two processor cores
# make reproduce   the paper on BUSI (PROFILE=busi-scratch|busi-small|phantom selects another profile)
# make fetch       everything that PROFILE takes from the network, so that it runs without one; VERIFY=1 only checks
# make finished    tables and report of PROFILE from the rows that are finished, after an interruption; names the others
# make report      tables and report of PROFILE anew from results that are there, as after dvc pull; nothing is trained
# make bench       what the fast parts gain, as ratios on this machine
# make diff        Tables I to III of two commits, side by side (A=<commit> B=<commit>; without B, the files here)
# make test        all tests;  make lint  style, types, Dockerfile;  make audit  known vulnerabilities (needs a network)
# make lock        new requirements files;  make licences  LICENCES.md
# make docker-demo, docker-reproduce, docker-test    the same in a container (DOCKER=podman works too)
PROFILE ?= busi
PYTHON ?= python3
A ?= HEAD
# The container names its environment here; then nothing is installed, and its lock must be this folder's.
BIN := $(or $(BUSBENCH_ENV),.venv)/bin
export DVC_NO_ANALYTICS := 1
export DVC_SITE_CACHE_DIR := $(CURDIR)/.bench/dvc-site-cache
export PATH := $(abspath $(BIN)):$(PATH)
# Python that may not keep what it compiled compiles PyTorch and DVC anew in every stage, which takes seconds each.
unexport PYTHONDONTWRITEBYTECODE

# `bench` is a folder too.
.PHONY: demo reproduce fetch finished report bench diff test lint audit licences lock setup
.PHONY: docker-demo docker-reproduce docker-test

demo: PROFILE := phantom
demo: reproduce

# DVC takes stages that do not need each other in the order of Python's hashes. With these the demo's `cams` comes before
# `segmenter`, whose training it then has done beside its own.
reproduce: export PYTHONHASHSEED := 0
reproduce: $(BIN)/.run
	dvc repro report@$(PROFILE)
	@cat reports/$(PROFILE)/table1.md reports/$(PROFILE)/table2.md reports/$(PROFILE)/table3.md
	@echo "More in reports/$(PROFILE)/report.html"

fetch: $(BIN)/.run
	python -m bench fetch --profile $(PROFILE) $(if $(VERIFY),--verify)

finished: $(BIN)/.run
	for stage in train_gt train_weak oracle controls evaluate tables report; do \
	  python -m bench $$stage --profile $(PROFILE) --finished || exit; done

report: $(BIN)/.run
	python -m bench tables --profile $(PROFILE)
	python -m bench report --profile $(PROFILE)
	dvc commit --force tables@$(PROFILE) report@$(PROFILE)

bench: $(BIN)/.run
	python -m bench.benchmarks

diff: $(BIN)/.run
	@python -m bench diff $(A) $(B)

test: $(BIN)/.dev
	python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(BIN)/.dev
	ruff check .
	ruff format --check .
	mypy
	hadolint Dockerfile

audit: $(BIN)/.dev
	pip-audit --strict --disable-pip --require-hashes -r requirements/dev.txt -r requirements/uv.txt -r requirements/build.txt

# What only builds other packages is nowhere installed; its metadata is brought for this alone.
licences: $(BIN)/.dev
	uv pip install --quiet --target .bench/licences --require-hashes -r requirements/build.txt
	PYTHONPATH=.bench/licences python -m bench.licences

setup: $(BIN)/.dev

ifdef BUSBENCH_ENV
$(BIN)/.%:
	@cmp -s requirements/$*.txt $(BUSBENCH_ENV)/$*.txt || \
	  { echo "error: this environment lacks requirements/$*.txt as it stands here - build the image (target test for dev) anew"; exit 2; }
else
INSTALL := uv pip install --quiet --python $(BIN)/python --require-hashes --build-constraints requirements/build.txt

$(BIN)/uv: requirements/uv.txt
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 13) else "Python 3.11 or 3.12 is needed; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements/uv.txt
	@touch $@

$(BIN)/.run: requirements/run.txt requirements/build.txt $(BIN)/uv
	$(INSTALL) -r requirements/run.txt
	@touch $@

$(BIN)/.dev: requirements/dev.txt $(BIN)/.run
	$(INSTALL) -r requirements/dev.txt
	@touch $@
endif

LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet
lock: $(BIN)/uv
	$(LOCK) pyproject.toml --extra pipeline --extra cluster --extra dev -o requirements/dev.txt
	$(LOCK) pyproject.toml --extra pipeline --extra cluster -c requirements/dev.txt -o requirements/run.txt
	echo "uv==$$(uv --version | cut -d' ' -f2)" | $(LOCK) - -o requirements/uv.txt
	printf 'cython==0.29.36\nsetuptools\nwheel\n' | $(LOCK) - -c requirements/dev.txt -o requirements/build.txt

DOCKER ?= docker
DOCKER_FLAGS ?=
DOCKER_BUILD_FLAGS ?=
DOCKER_GPU ?= --gpus all
HAS_GPU = $(shell nvidia-smi --list-gpus 2>/dev/null)
ORIGIN = $(filter http%,$(shell git remote get-url origin 2>/dev/null | sed 's,//[^/@]*@,//,'))
LABEL := --label org.opencontainers.image
# Labels, not the Dockerfile's arguments for them: Buildah takes a LABEL from its cache whatever its arguments are.
build-image = $(DOCKER) build --target $(1) --tag busbench:$(1) $(LABEL).source=$(or $(ORIGIN),unknown) \
  $(LABEL).revision=$$(git rev-parse HEAD) $(DOCKER_BUILD_FLAGS) .
run-image = $(DOCKER) run --rm --read-only --tmpfs /tmp:exec --shm-size 2g --cap-drop ALL \
  --security-opt no-new-privileges --user $$(id -u):$$(id -g) --volume "$(CURDIR):/work" $(DOCKER_FLAGS)

# No network: the image holds all that the demo and the tests need.
docker-demo:
	$(call build-image,cpu)
	$(run-image) --network none busbench:cpu make demo

docker-reproduce: TARGET = $(if $(HAS_GPU),gpu,cpu)
docker-reproduce:
	$(call build-image,$(TARGET))
	$(run-image) $(if $(HAS_GPU),$(DOCKER_GPU)) \
	  $(if $(BUSI_ZIP),--volume "$(abspath $(BUSI_ZIP)):/busi:ro" --env BUSI_ZIP=/busi) \
	  $(if $(BUSBENCH_WEIGHTS),--volume "$(abspath $(BUSBENCH_WEIGHTS)):/weights" --env BUSBENCH_WEIGHTS=/weights) \
	  busbench:$(TARGET) make reproduce PROFILE=$(PROFILE)

docker-test:
	$(call build-image,test)
	$(run-image) --network none busbench:test make test
