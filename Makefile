# `make` alone lists what there is.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo demo-cluster test torture check bench bench-cluster docs clean test-cluster test-faults

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## a virtual environment with Millstream, its template's libraries and the tools of development

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Millstream needs Python 3.11 or newer; set PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: setup ## the main job: raw events to a watched, experimented-on model, on the embedded default (DIR=demo)
	$(BIN)/millstream demo --force $(or $(DIR),demo)

demo-cluster: setup ## the same on Kafka, HDFS, Spark on YARN, Airflow, Redis, PostgreSQL and MLflow's server, beside the laptop's (DIR=demo)
	scripts/cluster_packages.sh
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,cluster,spark]'
	test -f $(or $(DIR),demo)/report.html || $(BIN)/millstream demo --force $(or $(DIR),demo)
	$(BIN)/millstream --profile cluster demo --force --beside $(or $(DIR),demo) $(or $(DIR),demo)-cluster; \
	  told=$$?; $(BIN)/millstream --project $(or $(DIR),demo)-cluster cluster down; exit $$told

test: setup ## all tests that need no service beside them
	$(BIN)/pytest -n 2 --dist loadfile

torture: setup ## the simulator's 20,000 schedules, and 100,000 fuzzed records a format; about an hour (SCHEDULES=, FUZZ_RECORDS=)
	SCHEDULES=$(or $(SCHEDULES),20000) FUZZ_RECORDS=$(or $(FUZZ_RECORDS),100000) $(BIN)/pytest -n 2 --timeout 0 tests/sim tests/ingest/test_fuzz_values.py

check: setup ## format, lint, types, import contracts, doctests
	$(BIN)/ruff format --check src tests bench scripts
	$(BIN)/ruff check src tests bench scripts
	$(BIN)/mypy
	find tests scripts -name conftest.py -o -path "scripts/*.py" | xargs -n 1 $(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --doctest-modules src/millstream -p no:randomly --ignore=src/millstream/templates

test-cluster: setup ## the contract suites against real engines, which are fetched and started for it (ONLY=tests/cluster/test_x.py; ALL=1: the long ones too; AGAIN=1: what failed)
	scripts/cluster_packages.sh
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,cluster,spark]'
	$(BIN)/pytest -m '$(if $(ALL),,not long)' $(if $(AGAIN),--last-failed --last-failed-no-failures none) $(or $(ONLY),tests/cluster)

test-faults: setup ## every daemon of a real cluster killed under load: one table of seconds, lost and doubled
	scripts/cluster_packages.sh
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,cluster,spark]'
	$(BIN)/pytest -m fault $(or $(ONLY),tests/cluster)

bench: setup ## speed, each figure beside its raw limit in the same run (medians of 5): docs/benchmarks.md (ONLY="log app")
	$(BIN)/python scripts/bench_table.py $(ONLY)

bench-cluster: setup ## the same for Kafka and Spark, beside what one would write for them without Millstream (medians of 3)
	scripts/cluster_packages.sh
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,cluster,spark]'
	$(BIN)/python scripts/bench_table.py cluster

docs: setup ## the generated references below docs/
	$(BIN)/python scripts/reference.py

clean: ## what setup and the demo made
	rm -rf $(VENV) demo demo-cluster build .mypy_cache .ruff_cache .pytest_cache .hypothesis
