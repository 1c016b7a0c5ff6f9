# make demo    the whole job on a generated catalogue      make check   lint, types, import floors, docs
# make test    the test suite, without chaos, 25 minutes    make install the environment alone
# make unit    tests/unit, a minute
# make chaos   kill -9 of everything, 30 times              make memory  peak memory of 200,000 and of 2,000,000 ads
# make bench   tokens per second against the floor and against other engines, 15 minutes
# make docs    the docs site, in build/site                make pictures  drawings and screenshots of docs/pictures
# make gpu     tests and figures of one GPU, with PYTHON and PYTHONPATH as they are (no network, no .venv), 9 minutes
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
PARALLEL := --numprocesses 2 --dist loadscope
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
STAMP := $(VENV)/.installed
unexport PYTHONDONTWRITEBYTECODE # every worker would compile every module anew

.PHONY: demo test unit coverage chaos memory bench docs pictures gpu check format install lock clean
.DEFAULT_GOAL := demo

demo: install
	$(BIN)/rubert-ood demo

test: install
	$(BIN)/pytest $(PARALLEL) tests/unit tests/integration
	$(BIN)/pytest $(PARALLEL) --no-loadscope-reorder tests/ray tests/s3
	$(BIN)/pytest tests/e2e

unit: install
	$(BIN)/pytest $(PARALLEL) --hypothesis-profile quick tests/unit

coverage: install
	$(BIN)/pytest $(PARALLEL) --cov=rubert_ood tests/unit tests/integration

chaos: install
	CHAOS_TRIALS=30 $(BIN)/pytest tests/chaos

memory: install
	$(BIN)/python -m benchmarks.memory

bench: install
	$(PIP_INSTALL) --editable ".[dev,bench,spark]"
	$(BIN)/python -m benchmarks.speed

docs: install
	$(MKDOCS)

pictures: install
	$(BIN)/python -m docs_tools.pictures

gpu:
	$(PYTHON) -m benchmarks.gpu

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(MKDOCS)

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { echo "no venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PIP_INSTALL) --editable ".[dev]"
	@touch $(STAMP)

lock: install
	$(PIP_INSTALL) --editable ".[dev,bench,spark]"
	{ echo "# Every version that the tests run with. Renew: make lock"; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) demo output build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
