# Every target does its own set-up in .venv; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
MINUTES ?= 30
# Tests of real servers wait most of the time: three at once, those of a file one by one, in
# the order of tests/conftest.py.
PARALLEL ?= --numprocesses=3 --dist=loadgroup --no-loadscope-reorder
# Else every server that a test starts would compile the packages anew, 0.3 s each.
unexport PYTHONDONTWRITEBYTECODE
# Products of small matrices are no faster on several threads, which wait for each other by spinning.
export OPENBLAS_NUM_THREADS ?= 1
PACKAGES := streams schemas api dashboard client scripts tests examples $(wildcard benchmarks)
YAML := docker-compose.yml $(wildcard deploy/*.yml deploy/*/*.yml deploy/*/*/*.yml)
MEASUREMENTS := wire fold exposures posteriors deduplication assign_cost assign_load freshness throughput
# Those that start the embedded stack themselves would only do so again.
EMBEDDED := $(addprefix tests/integration/test_,ad_server.py demo.py import_open_bandit.py \
	persistence.py readme.py up.py)
ON_KAFKA := $(filter-out $(EMBEDDED),$(wildcard tests/integration/test_*.py)) tests/contract tests/faults
# Those whose outcome depends on the broker: sizes, times, transactions, rights, settings, groups.
BY_BROKER := $(patsubst %,tests/integration/test_%.py,archive clock engine_faults hostile_records \
	kafka_commands kafka_durability kafka_security log_boundary topic_settings webhooks) \
	tests/contract tests/faults
LOCK := --python-version 3.11 --universal --generate-hashes --no-header --no-emit-index-url \
	--no-annotate --quiet --group build --no-emit-package experiment-streams-client

.DEFAULT_GOAL := help
.PHONY: help demo up test test-long test-kafka test-kafka-broker test-openfeature test-compose test-redis-tls test-registry test-kubernetes soak lint format types contracts compose fuzz check bench calibrate lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## run the whole engine against known click rates and compare every count
	$(BIN)/experiment demo

up: $(INSTALLED) ## start the whole stack on this machine until Ctrl-C
	$(BIN)/experiment up

test: $(INSTALLED) ## all but the long tests, also those against the real embedded broker and Valkey
	$(BIN)/pytest $(PARALLEL) $(PYTEST_ARGS)

test-long: $(INSTALLED) ## the tests that take minutes of processor time: schedules of faults, simulations
	$(BIN)/pytest --long -m long $(PARALLEL) $(PYTEST_ARGS)

test-kafka: $(INSTALLED) ## the same joints on Apache Kafka 4; needs Java 17 and Maven
	$(BIN)/pytest --stack=kafka --long $(PARALLEL) $(ON_KAFKA) $(PYTEST_ARGS)

test-kafka-broker: $(INSTALLED) ## those of them whose outcome depends on the broker, in CI
	$(BIN)/pytest --stack=kafka $(PARALLEL) $(BY_BROKER) $(PYTEST_ARGS)

test-openfeature: $(INSTALLED) ## OpenFeature's clients for Node, browsers and Go; needs npm, Go and Chromium
	scripts/openfeature-clients
	OPENFEATURE_CLIENTS=1 $(BIN)/pytest tests/openfeature $(PYTEST_ARGS)

test-kubernetes: $(INSTALLED) ## deploy/kubernetes renders valid objects; needs Go
	scripts/check-kubernetes

test-redis-tls: $(INSTALLED) ## the engine on a Redis with TLS and ACL; needs Debian's redis-server
	REDIS_TLS=1 $(BIN)/pytest tests/integration/test_redis_security.py $(PYTEST_ARGS)

test-registry: $(INSTALLED) ## the engine with a schema registry, Apicurio's; needs Java 17 and Maven
	SCHEMA_REGISTRY=1 $(BIN)/pytest tests/integration/test_schema_registry.py $(PYTEST_ARGS)

test-compose: $(INSTALLED) ## the image and docker-compose.yml on a Docker engine; see docs/how-to/run-the-compose-stack.md
	COMPOSE=1 $(BIN)/pytest -s -x tests/compose $(PYTEST_ARGS)

fuzz: $(INSTALLED) ## every decoder against any bytes, by coverage, for MINUTES in all
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(FUZZ_ARGS)

soak: $(INSTALLED) ## random schedules of faults for MINUTES=30; SOAK_ARGS=--stack=kafka for Apache Kafka
	$(BIN)/pytest tests/faults/test_soak.py -s --timeout=0 --soak-minutes=$(MINUTES) $(SOAK_ARGS)

lint: $(INSTALLED) ## ruff and yamllint
	$(BIN)/ruff check $(PACKAGES)
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/yamllint --strict -d '{extends: default, rules: {document-start: disable, line-length: {max: 120}, truthy: {check-keys: false}}}' $(YAML)

format: $(INSTALLED) ## let ruff correct what it can
	$(BIN)/ruff check --fix $(PACKAGES)
	$(BIN)/ruff format $(PACKAGES)

types: $(INSTALLED) ## mypy --strict
	$(BIN)/mypy

contracts: $(INSTALLED) ## the layers hold
	$(BIN)/lint-imports

compose: ## docker-compose.yml is valid, and refuses to start without its secrets
	scripts/check-compose

check: lint types contracts compose test test-kafka-broker test-openfeature test-redis-tls test-kubernetes ## everything that CI runs

bench: $(INSTALLED) ## what events, evaluations and assignments cost, and freshness; needs wrk
	set -e; for name in $(MEASUREMENTS); do $(BIN)/python -m benchmarks.$$name; done

calibrate: $(INSTALLED) ## simulate what the statistics promise; CALIBRATE_ARGS="--rows power" for a part
	$(BIN)/python -m benchmarks.calibrate $(CALIBRATE_ARGS)

lock: $(INSTALLED) ## pin what pyproject.toml allows, with hashes; LOCK_ARGS=--upgrade for the newest
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml $(LOCK) $(LOCK_ARGS) --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml $(LOCK) $(LOCK_ARGS) --extra local --extra warehouse --group dev --constraints requirements.lock \
		--output-file requirements-dev.lock

clean: ## remove what the targets made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(INSTALLED): requirements-dev.lock pyproject.toml scripts/bootstrap.py
	$(PYTHON) scripts/bootstrap.py --venv $(VENV) --lock requirements-dev.lock
	@touch $@
