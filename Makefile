.DELETE_ON_ERROR:
.PHONY: help run env env-dev test test-long mutate bench bench-relay bench-synapse check fmt lock
SHELL := /bin/bash
PY := .venv/bin/python

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

env: ## build .venv from the lock file (again and again without harm)
	@scripts/env.sh run

env-dev:
	@scripts/env.sh dev

run: env ## the main job: a gateway and a lab, a dozen messages, proofs and a sweep; then serves until Ctrl-C
	@.venv/bin/letterlock demo

check: env-dev ## style, types, architecture
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/basedpyright --level error
	@.venv/bin/lint-imports

test: env-dev check ## the test suite (under 15 minutes)
	@scripts/test-setup.sh
	@$(PY) -m pytest -m "not long"

test-long: env-dev ## what takes longer: kill cycles, a million inputs a parser, mutation testing (under an hour)
	@scripts/test-setup.sh
	@$(PY) -m pytest -m long --timeout 3600 --durations=15
	@$(MAKE) --no-print-directory mutate

mutate: env-dev ## changes the code that decides, line by line, and fails if no test notices it in a guard
	@$(PY) scripts/mutate.py

bench: env-dev ## messages, latency and server CPU a message; then the memory of idle devices (9 minutes)
	@$(PY) -m bench
	@$(PY) -m bench.idle

bench-relay: env-dev ## the relay by devices and group sizes, what TRACKED costs, encryption's share of the latency
	@$(PY) -m bench.relay

bench-synapse: env-dev ## this relay beside matrix-synapse in one run (installs that peer into an environment of its own)
	@$(PY) -m bench.synapse

fmt: env-dev
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

lock: ## recompute the lock files (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-find-links --no-header --extra client pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-find-links --no-header --extra client --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock
