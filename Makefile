# The one entry point. Every target does its own set-up and prints what it runs.
#
#   ARGS="..."      extra arguments for the command behind a target, e.g. make test ARGS="-k cookies"
#   TARGET=host:port, UPSTREAM=host:port, PROFILES=a,b, TOKENS=authjs|hs256
#                   the proxy that `make conformance` is to attack; without, the gateway itself
#   MINUTES=...     how long make fuzz takes
#   PYTHON=...      the Python 3.11+ that .venv is made from (default: the first that works)

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PY := .venv/bin/python
ARGS ?=
MINUTES ?= 10
# Where `make ci` cuts the tests, so that five parts take about as long and run beside each other. The
# last part of each kind is all that the others do not name, so nothing is left out.
COV_1 := tests/supervisor $(wildcard tests/corridor/test_[a-l]*.py)
COV_2 := tests/worker $(wildcard tests/corridor/test_[m-z]*.py)
E2E_1 := tests/e2e/browser $(addprefix tests/e2e/test_,authjs_app.py siege.py idle_backends.py load_balancers.py)
ignoring = $(addprefix --ignore=,$(1))

.PHONY: help setup demo test e2e endurance conformance conformance-peers run image fmt lint types bench siege fuzz cov ci fmt-check cov-1 cov-2 cov-3 e2e-tools e2e-1 e2e-2 clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed-dev ## .venv with everything for development, and the command .venv/bin/gatelodge

demo: .venv/.installed-demo ## try it: a web app, PostgreSQL, an API and the gateway between them, on this machine only
	$(PY) -m proxy demo $(ARGS)

test: .venv/.installed-dev ## all tests but those in tests/e2e
	$(PY) -m pytest --ignore=tests/e2e $(ARGS)

e2e: e2e-tools ## tests with real processes; need Node 20 and npm, and root on Debian or Ubuntu
	$(PY) -m pytest tests/e2e $(ARGS)

e2e-tools: .venv/.installed-dev .venv/.installed-fuzz
	scripts/install-chromium.sh
	scripts/install-systemd.sh

e2e-1: e2e-tools
	$(PY) -m pytest $(E2E_1) $(ARGS)

e2e-2: e2e-tools
	$(PY) -m pytest tests/e2e $(call ignoring,$(E2E_1)) $(ARGS)

endurance: .venv/.installed-dev ## restarts, reloads, rollouts and failing endpoints at full length: half an hour (Linux; root)
	scripts/install-systemd.sh
	GATELODGE_NEVER_DROPS=1 IDLE_REQUESTS=10000 $(PY) -m pytest -s tests/e2e/test_never_drops.py \
		tests/e2e/test_endpoints_under_load.py tests/e2e/test_kubernetes.py tests/e2e/test_systemd.py \
		tests/e2e/test_idle_backends.py $(ARGS)

conformance: .venv/.installed-dev ## the attack cases against the gateway, or against any proxy (docs/conformance.md)
	$(PY) -m tests.hostile run $(if $(TARGET),--target $(TARGET)) $(if $(UPSTREAM),--upstream $(UPSTREAM)) \
		$(if $(PROFILES),--profiles $(PROFILES)) $(if $(TOKENS),--tokens $(TOKENS)) $(ARGS)

conformance-peers: .venv/.installed-dev .venv/.installed-bench ## the same against nginx and Envoy (Linux; needs Node 20 and npm)
	$(PY) -m tests.hostile peers $(ARGS)

run: .venv/.installed-demo ## the gateway, with config.example.yaml; needs AUTH_SECRET
	$(PY) -m proxy run --config config.example.yaml $(ARGS)

image: ## the container image, with docker, podman or buildah
	scripts/build-image.sh $(ARGS)

fmt: .venv/.installed-dev ## put the code into shape
	$(PY) -m ruff check --fix --quiet .
	$(PY) -m ruff format .

lint: .venv/.installed-dev ## the style rules
	$(PY) -m ruff check .

types: .venv/.installed-dev .venv/.installed-fuzz ## mypy, strict
	$(PY) -m mypy

bench: .venv/.installed-bench ## numbers against nginx and Envoy (Linux)
	$(PY) -m bench $(ARGS)

siege: .venv/.installed-dev ## attackers against a gateway, slowhttptest among them (Linux; root on Debian or Ubuntu)
	scripts/install-slowhttptest.sh
	$(PY) -m bench --scenario siege $(ARGS)
	$(PY) -m bench --scenario slowhttptest --attackers 4000 --siege-seconds 60 $(ARGS)

fuzz: .venv/.installed-dev .venv/.installed-fuzz ## hostile input against oracles and real backends; MINUTES=10; needs Node 20 and npm
	$(PY) -m tests.fuzz --minutes $(MINUTES) $(ARGS)

# The floors rise and never fall. What is pure has no excuse.
cov: cov-1 cov-2 cov-3 ## the tests with branch coverage, and its floors
	$(PY) -m coverage combine .coverage.1 .coverage.2 .coverage.3
	$(PY) -m coverage report --fail-under=90
	$(PY) -m coverage report --fail-under=95 --include='proxy/core/*,proxy/config/*,proxy/errors.py'

cov-1 cov-2: .venv/.installed-dev
	COVERAGE_FILE=.coverage.$(@:cov-%=%) $(PY) -m coverage run -m pytest $(COV_$(@:cov-%=%)) $(ARGS)

cov-3: .venv/.installed-dev
	COVERAGE_FILE=.coverage.3 $(PY) -m coverage run -m pytest $(call ignoring,tests/e2e $(COV_1) $(COV_2)) $(ARGS)

# Many tests wait for a process or a deadline, so five at a time keep two cores busy.
ci: fmt-check lint types ## what .ci/run runs
	$(MAKE) -j5 --output-sync=target e2e-1 e2e-2 cov

fmt-check: .venv/.installed-dev
	$(PY) -m ruff format --check .

clean: ## remove the environment and all caches
	rm -rf .venv .fuzz .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov dist
	find proxy tests -name __pycache__ -prune -exec rm -rf {} +

.venv/.installed-%: requirements/%.txt requirements/build.txt pyproject.toml scripts/bootstrap.sh
	scripts/bootstrap.sh $*
