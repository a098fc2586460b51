PYTHON ?= python3
WORKERS ?= 1
JOBS ?= 10000
MINUTES ?= 10
SEED ?=
PREVIOUS ?=
CORPUS ?= $(error make exam CORPUS=DIR: name a directory of checked-out collections)
EXAM ?= /tmp/revalid-exam
BIN := .venv/bin

.DEFAULT_GOAL := help

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

.PHONY: run
run: .venv/installed ## validate the three example apps and show their verdicts
	@$(BIN)/python examples/run.py

.PHONY: test
test: .venv/installed ## run the tests, two halves at a time; all of them with ARGS=--full; dagger's where an engine answers
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=line test-units test-system

UNITS := tests/jobs tests/producer

.PHONY: test-units test-system
test-units: .venv/installed
	$(BIN)/python -m pytest $(ARGS) $(UNITS)
test-system: .venv/installed
	$(BIN)/python -m pytest $(ARGS) $(addprefix --ignore=,$(UNITS))

.PHONY: check
check: lint test ## what CI runs: format, lint, types, import directions, tests

.PHONY: slow
slow: .venv/installed ## run exactly the tests that CI leaves out; before a change is called done
	$(BIN)/python -m pytest --full -m slow

.PHONY: faults
faults: .venv/installed ## kill, freeze, fill and cut: every row of the fault matrix (tests/faults)
	@$(BIN)/python -m tests.faults

.PHONY: hostile
hostile: .venv/installed ## run what attackers would submit, on both sandboxes (tests/hostile)
	$(BIN)/python -m pytest tests/hostile -v

.PHONY: exam
exam: .venv/installed ## CORPUS=DIR of checked-out collections with known verdicts: run all, print each wrong one (tests/exam)
	@$(BIN)/python -m tests.exam $(CORPUS) $(EXAM)
	@$(BIN)/revalid batch run $(EXAM)/manifest.jsonl --expect $(EXAM)/expected.csv $(ARGS)

.PHONY: soak
soak: .venv/installed ## JOBS=10000 short jobs with random kills; memory and descriptors must be level
	@$(BIN)/python -m tests.faults.soak --jobs $(JOBS)

.PHONY: storm
storm: .venv/installed ## MINUTES=10 of random faults on three workers; SEED=n repeats, PREVIOUS=rev adds one of it
	@$(BIN)/python -m tests.faults.storm --minutes $(MINUTES) $(SEED:%=--seed %) $(PREVIOUS:%=--previous %)

.PHONY: lint
lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir .venv/import-linter
	$(BIN)/deptry jobs worker producer revalid
	$(BIN)/deptry --config client/pyproject.toml jobs producer

.PHONY: matrix
matrix: ## run the unit tests on each Python from 3.11 to 3.13 that is installed
	@for version in 3.11 3.12 3.13; do \
	  command -v python$$version >/dev/null || { echo "python$$version: not installed, skipped"; continue; }; \
	  python$$version -m venv .venv-$$version && .venv-$$version/bin/pip install --quiet --editable '.[dev]' && \
	  .venv-$$version/bin/python -m pytest $(ARGS) $(UNITS) || exit 1; \
	done

.PHONY: coverage
coverage: .venv/installed ## run the tests with coverage, also of child processes, and print a report
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS) tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --sort=cover

.PHONY: bench
bench: .venv/installed ## print the ratios of benchmarks/, measured in one run
	$(BIN)/python -m benchmarks

.PHONY: docs
docs: .venv/installed ## build the documentation into site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.PHONY: up
up: ## start Redis, engine, Flower and WORKERS=n workers with Docker Compose
	docker compose up --detach --build --wait --scale worker=$(WORKERS)

.PHONY: down
down: ## stop what `make up` started; volumes stay
	docker compose down

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
