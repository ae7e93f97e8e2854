# The project's verbs. Each sets up what it needs; a set-up that stands costs nothing.

SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN := .venv/bin
STEP := scripts/step.sh
PACKAGES := $(wildcard hft_lib components pipelines serving cli)
# A small machine has two cores: of three workers one waits for servers most of the time. A file's tests stay in one
# process, so that its fixtures are made once.
# A worker that died ends the run: what was left to it would be waited for, for good.
# TESTS: in place of all (scripts/changed_tests.py prints those that a change can break).
PYTEST := $(BIN)/pytest -n $(or $(WORKERS),3) --max-worker-restart=0 --dist loadfile --no-loadscope-reorder --doctest-modules

COLLECT := $(BIN)/pytest --collect-only -q --doctest-modules hft_lib tests

# What a check may write besides build/: the operator's own addresses are not a test's business.
export MLFLOW_DISABLE_TELEMETRY := true
export PYTHONHASHSEED := 0
# The tests start hundreds of processes: without bytecode each compiles its libraries anew, which doubles its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo paper test check format lint types unit tests notebooks images containers lab bench lock setup dev clean \
	black isort flake8 bandit secrets imports mypy kernels bytecode

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup ## set up, then run the whole loop on an embedded default
	$(BIN)/hft demo

paper: setup ## set up, then the six services on live market data, with paper fills, until Ctrl-C
	@echo "the operator's page: http://localhost:8005/ (Ctrl-C ends it, and a new start goes on)"
	EXCHANGE=paper $(BIN)/python -m serving all --bus memory

test: types kernels bytecode lint tests notebooks ## set up, then every check, test and notebook, with coverage

check: lint types unit ## set up, then format, lint, types and unit tests: what a feature branch must pass

format: dev ## rewrite the sources in the one format
	$(BIN)/isort --quiet .
	$(BIN)/black --quiet .

lint: black isort flake8 bandit imports ## format, style, security and import direction, nothing rewritten

types: mypy ## static types

notebooks: dev ## execute every notebook, compare with its kept outputs; WRITE=1 keeps new ones
	@$(STEP) notebooks $(BIN)/python scripts/notebooks.py $(if $(WRITE),write,all) $(NOTEBOOK_JOBS)

lab: dev ## open JupyterLab on the notebooks, with the project's kernel; LAB="--no-browser" and so on
	PYTHONPATH="$(CURDIR)" $(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" $(LAB) \
		notebooks/00_start_here.ipynb

images: dev ## look the Dockerfiles over; scripts/docker-build.sh builds them
	@$(STEP) dockerfiles scripts/docker-build.sh --check

lock: dev ## resolve requirements/*.in to the locks again
	scripts/lock.sh

bench: ## set up with the benchmarks' peers, then measure the models beside them: five minutes
	@rm -f build/steps.tsv
	@$(STEP) set-up scripts/setup.sh bench
	$(BIN)/python bench/models.py

containers: dev ## build every image, run it and stop it, then the stack of compose.yaml: an hour, with Docker
	BUILD_IMAGES=true $(BIN)/pytest -v tests/docker/test_built_images.py tests/docker/test_stack.py

clean: ## remove what checks and builds leave behind, not .venv and not runs
	rm -rf build htmlcov coverage.xml pytest-report.xml bandit-report.json safety-report.json .coverage .coverage.* .mypy_cache .pytest_cache .import_linter_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

# --- steps ---

# With -j all that needs no test runs two at a time, the types first, for they take longest; then the tests, who wait
# much, and the notebooks beside them, one at a time.
ifneq ($(filter test,$(MAKECMDGOALS)),)
tests notebooks: | types lint kernels bytecode
bytecode: | kernels
NOTEBOOK_JOBS = $(if $(findstring jobserver,$(MAKEFLAGS)),--jobs=1)
endif

setup:
	@rm -f build/steps.tsv
	@$(STEP) set-up scripts/setup.sh research

dev:
	@rm -f build/steps.tsv
	@$(STEP) set-up scripts/setup.sh dev

black: dev
	@$(STEP) black $(BIN)/black --quiet --check --diff .

isort: dev
	@$(STEP) isort $(BIN)/isort --quiet --check-only --diff .

flake8: dev
	@$(STEP) flake8 $(BIN)/flake8

bandit: dev
	@$(STEP) bandit $(BIN)/bandit --quiet --configfile pyproject.toml --recursive $(PACKAGES)

secrets: dev ## look for secrets in every file that git keeps
	@$(STEP) secrets $(BIN)/python scripts/secret_scan.py

imports: dev
	@$(STEP) imports $(BIN)/lint-imports

# On a clean clone every worker would compile the same functions, and the same modules, at the same time.
kernels: dev
	@$(STEP) kernels $(BIN)/python scripts/bake_kernels.py

bytecode: dev
	@$(STEP) bytecode bash -c '$(COLLECT) >build/collected || { tail -n 50 build/collected; exit 1; }'

mypy: dev
	@$(STEP) mypy $(BIN)/mypy $(PACKAGES) scripts tests

unit: dev
	@$(STEP) unit-tests $(PYTEST) $(or $(TESTS),hft_lib tests) -m "not slow" --ignore=tests/integration --ignore=tests/simulation

tests: dev
	@$(STEP) tests $(PYTEST) hft_lib tests --cov --cov-report=term --cov-report=xml:build/coverage.xml \
		--junit-xml=build/pytest-report.xml
