# Everything runs from .venv, which the first command makes; see scripts/environment.
# Where packages come from is pip's own configuration: PIP_* variables and pip.conf count as always.

PORT ?= 8000
ARGS ?=
PY := .venv/bin/python

unexport PYTHONHOME PYTHONPATH
.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean env-demo env-dev lint format types floors docs-check

help:  ## what there is
	@echo "make demo   a small shop on http://127.0.0.1:$(PORT), its data in .demo/   (PORT=9000 make demo, ARGS='--load 30')"
	@echo "make test   all tests; PostgreSQL comes along            (make test ARGS='-k pool -x')"
	@echo "make check  style, types, the floors of the house, the documents"
	@echo "make bench  the benchmarks                               (make bench ARGS='…')"
	@echo "make clean  removes .venv, .demo/ and all caches"

demo: env-demo
	@mkdir -p .demo
	@exec $(PY) -m respool demo --port "$(PORT)" --url sqlite+aiosqlite:///.demo/shop.db $(ARGS)

test: env-dev
	$(PY) -m pytest $(ARGS)

check: lint format types floors docs-check

lint: env-dev
	$(PY) -m ruff check .

format: env-dev
	$(PY) -m ruff format --check .

types: env-dev
	$(PY) -m mypy

floors: env-dev
	.venv/bin/lint-imports --no-cache --no-logo

docs-check: env-dev
	$(PY) scripts/check_docs.py

bench: env-dev
	$(PY) -m benchmarks $(ARGS)

env-demo:
	@scripts/environment demo

env-dev:
	@scripts/environment dev

clean:
	rm -rf .venv .demo .foreign dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
