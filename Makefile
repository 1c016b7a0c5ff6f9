# make demo    the whole job on a generated catalogue      make check   lint, types, import floors, docs
# make test    the test suite, without chaos, 25 minutes    make install the environment alone
# make unit    tests/unit, a minute
# make lowest  tests/unit and tests/integration with the lowest versions that pyproject.toml admits, in build/lowest
# make chaos   kill -9 of everything, 30 times              make memory  peak memory of 200,000 and of 2,000,000 ads
# make orchestrators  the examples of Airflow and Dagster, each in an environment of its own, 3 minutes
# make mlflow  a bundle in the registry of MLflow's own server, from an environment of its own, 2 minutes
# make bench   tokens per second against the floor and against other engines, 15 minutes
# make image   the container, VARIANT=cpu or cuda (deploy/README.md)
# make sbom    what is in it, as CycloneDX                  make audit   known vulnerabilities of what is pinned
# make docs    the docs site, in build/site                make pictures  drawings and screenshots of docs/pictures
# make gpu     tests and figures of one GPU, with PYTHON and PYTHONPATH as they are (no network, no .venv), 9 minutes
# make gpu-training  the same of training: its kernels, its steps in four ways, a whole training
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
CONSTRAINTS ?= constraints.txt
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)
PARALLEL := --numprocesses 2 --dist loadscope --no-loadscope-reorder
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
STAMP := $(VENV)/.installed
LOWEST := build/lowest
RANGES := $(filter-out docs,$(shell sed -n 's/.*"rubert_ood\[\(.*\)\]".*/\1/p' pyproject.toml | tr , ' '))
TORCH ?=
IMAGE ?= rubert-ood
VARIANT ?= cpu
EXTRAS ?=
BASE_TAG := $(shell sed -n 's/^ARG BASE_IMAGE=\(.*\)@.*/\1/p' deploy/docker/Dockerfile)
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' rubert_ood/__init__.py)
TOOLS := build/tools/bin
unexport PYTHONDONTWRITEBYTECODE # every worker would compile every module anew

.PHONY: demo test unit lowest coverage chaos memory orchestrators mlflow bench docs pictures gpu gpu-training image sbom audit check lint types format install lock clean
.DEFAULT_GOAL := demo

demo: install
	$(BIN)/rubert-ood demo

test: install
	$(BIN)/pytest $(PARALLEL) tests/integration tests/unit
	$(BIN)/pytest $(PARALLEL) tests/e2e tests/ray tests/s3

unit: install
	$(BIN)/pytest $(PARALLEL) --hypothesis-profile quick tests/unit

lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/pytest $(PARALLEL) --hypothesis-profile quick tests/integration tests/unit

coverage: install
	$(BIN)/pytest $(PARALLEL) --cov=rubert_ood tests/integration tests/unit

chaos: install
	CHAOS_TRIALS=30 $(BIN)/pytest tests/chaos

memory: install
	$(BIN)/python -m benchmarks.memory

orchestrators: build/airflow/.installed build/dagster/.installed
	build/airflow/bin/pytest --confcutdir=tests/orchestrators tests/orchestrators/test_airflow.py
	build/dagster/bin/pytest --confcutdir=tests/orchestrators tests/orchestrators/test_dagster.py

build/%/.installed: examples/%/requirements.txt | $(TOOLS)
	$(TOOLS)/uv venv --quiet --clear --python $(PYTHON) $(@D)
	$(TOOLS)/uv pip install --quiet --python $(@D)/bin/python --requirement $< pytest
	touch $@

mlflow: install build/mlflow/.installed
	$(BIN)/pytest tests/orchestrators/test_mlflow.py

bench: install
	$(PIP_INSTALL) --editable ".[dev,bench,spark]"
	$(BIN)/python -m benchmarks.speed

docs: install
	$(MKDOCS)

pictures: install
	$(BIN)/python -m docs_tools.pictures

gpu:
	$(PYTHON) -m benchmarks.gpu

gpu-training:
	$(PYTHON) -m benchmarks.gpu --part training

image:
	base=$$(deploy/docker/resolve_digest.sh $(BASE_TAG)) && docker build --file deploy/docker/Dockerfile --build-arg BASE_IMAGE="$$base" \
	  --build-arg VARIANT=$(VARIANT) --build-arg EXTRAS=$(EXTRAS) --build-arg VERSION=$(VERSION) --build-arg REVISION="$$(git rev-parse HEAD)" \
	  --tag $(IMAGE):$(VERSION)-$(VARIANT) .

sbom: $(TOOLS)
	$(PYTHON) -m venv build/runtime
	build/runtime/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt .
	$(TOOLS)/cyclonedx-py environment build/runtime --pyproject pyproject.toml --output-reproducible --output-file build/sbom.cdx.json

# --strict: a package that the database does not answer for is a failure, not a success
audit: $(TOOLS)
	$(TOOLS)/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

$(TOOLS):
	$(PYTHON) -m venv build/tools
	$(TOOLS)/pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0 pip-audit==2.10.1 uv==0.13.9

# --only-binary: the lowest of which this Python has a wheel, where pip would compile for an hour. The tools of `dev` are the
# newest that fit. pip installs torch, from where it finds it (PIP_EXTRA_INDEX_URL); TORCH=2.13.0 asks for another than the lowest.
$(LOWEST).txt: pyproject.toml | $(TOOLS)
	echo "torch$(addprefix ==,$(TORCH))" > build/torch.txt
	$(TOOLS)/uv pip compile --quiet --only-binary :all: --python $(PYTHON) --resolution lowest-direct --constraint build/torch.txt \
	  $(addprefix --extra ,$(RANGES)) --output-file $@ pyproject.toml

$(LOWEST)/.installed: $(LOWEST).txt
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check --constraint $< torch
	$(TOOLS)/uv pip install --quiet --python $(LOWEST)/bin/python --constraint $< --editable ".[dev]"
	touch $@

check: lint types docs

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

types: install
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(STAMP)

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { echo "no venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PIP_INSTALL) --no-compile --editable ".[dev]"
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true # in some packages are templates, which are not Python
	@touch $(STAMP)

lock: install
	$(PIP_INSTALL) --editable ".[dev,bench,spark]"
	{ echo "# Every version that the tests run with. Renew: make lock"; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) demo output build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
