# Everything runs from .venv, which the first command makes; see scripts/environment.
# Where packages come from is pip's own configuration: PIP_* variables and pip.conf count as always.

PORT ?= 8000
ARGS ?=
JOBS ?= 2
SQLALCHEMY20 ?= 2.0.58
PY := .venv/bin/python

unexport PYTHONHOME PYTHONPATH
.DEFAULT_GOAL := help
.PHONY: help demo test mutations differential topologies test-pages test-templates dist test-lowest test-pythons test-sqlalchemy test-sqlalchemy-old test-sqlalchemy20 soak soak-web check docs bench clean env-bench env-demo env-dev env-dev20 env-dist env-lowest lint format types floors docs-check

help:  ## what there is
	@echo "make demo   a small shop on http://127.0.0.1:$(PORT), its data in .demo/   (PORT=9000 make demo, ARGS='--load 30 --trouble hold')"
	@echo "make test   all tests; PostgreSQL comes along            (make test ARGS='-k pool -x')"
	@echo "make test-pages  follows every page of the documents in an environment with nothing else   (ARGS=README.md)"
	@echo "make test-templates  makes each application of respool new and follows its README in an environment of its own"
	@echo "make test-lowest  the tests with the lowest versions that pyproject.toml allows"
	@echo "make test-pythons  the tests that need no server, on every other Python from 3.12 that is here"
	@echo "make topologies  what does not come along: MariaDB, PgBouncer, Redis, Chromium (Debian packages; as root)"
	@echo "make check  style, types, the floors of the house, the documents"
	@echo "make docs   the documents as a site, in build/docs       (RESPOOL_DOCS_INTERSPHINX=1: links into other projects' documents)"
	@echo "make dist   what is released: builds it, checks it, runs its demo in an empty environment"
	@echo "make mutations  breaks each rule of a request on purpose: every cell of the contract's table has to notice"
	@echo "make differential  programs by chance on SQLAlchemy and on respool   (ARGS='--minutes 60 --only asyncpg')"
	@echo "make soak   the pool's state machine, 10 million random steps"
	@echo "make soak-web  ten minutes on real servers, with kills at random   (ARGS='--seconds 60 --only uvicorn')"
	@echo "make bench  the comparison with other libraries, in an environment of its own   (ARGS=--quick)"
	@echo "make clean  removes .venv, .demo/ and all caches"
	@echo "make test-sqlalchemy      the own tests of SQLAlchemy, SQLModel, Flask-SQLAlchemy on our pools and sessions   (ARGS='--suite pool --only sqlite')"
	@echo "make test-sqlalchemy-old  the same with SQLAlchemy $(SQLALCHEMY20)"
	@echo "make test-sqlalchemy20    our tests with SQLAlchemy $(SQLALCHEMY20)"

demo: env-demo
	@mkdir -p .demo
	@exec $(PY) -m respool demo --port "$(PORT)" --url sqlite+aiosqlite:///.demo/shop.db $(ARGS)

test: env-dev
	$(PY) -m pytest -n "$(JOBS)" $(ARGS)

topologies: env-dev
	@scripts/topologies $(ARGS)

test-pages: env-dev
	$(PY) -m tests.fresh $(ARGS)

test-templates: env-dev
	$(PY) -m tests.fresh.applications $(ARGS)

test-lowest: env-lowest
	.venv-lowest/bin/python -m tests.lowest -n "$(JOBS)" $(ARGS)

test-pythons: env-dev
	@scripts/pythons $(ARGS)

test-sqlalchemy: env-dev
	$(PY) -m tests.foreign $(ARGS)

test-sqlalchemy-old: env-dev20
	.venv20/bin/python -m tests.foreign $(ARGS)

test-sqlalchemy20: env-dev20
	.venv20/bin/python -m pytest -n "$(JOBS)" $(ARGS)

mutations: env-dev
	$(PY) -W ignore -m tests.web.mutations $(ARGS)

differential: env-dev
	$(PY) -m tests.differential $(ARGS)

soak: env-dev
	RESPOOL_SOAK_STEPS=10000000 $(PY) -m pytest --timeout 0 tests/pool/test_machine.py $(ARGS)

soak-web: env-dev
	$(PY) -m benchmarks.soak $(ARGS)

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
	$(PY) scripts/draw_house.py --check
	$(PY) scripts/draw_states.py --check
	$(PY) scripts/draw_ways.py --check
	$(PY) scripts/write_findings.py --check
	$(PY) scripts/write_commands.py --check

docs: env-dev
	$(PY) -W "ignore:pkg_resources is deprecated:UserWarning" -m sphinx -q -W --keep-going -c docs -b html -d build/doctrees . build/docs $(ARGS)

dist: env-dist
	@scripts/dist

bench: env-bench
	.venv-bench/bin/python -m benchmarks.applications $(ARGS)
	.venv-bench/bin/python -m benchmarks.correctness $(ARGS)
	.venv-bench/bin/python -m benchmarks $(ARGS)

env-demo:
	@scripts/environment demo

env-dev:
	@scripts/environment dev

env-dev20:
	@scripts/environment dev .venv20 $(SQLALCHEMY20)

env-dist:
	@scripts/environment release .venv-dist

env-bench:
	@scripts/environment bench .venv-bench

env-lowest:
	@scripts/environment lowest .venv-lowest

clean:
	rm -rf .venv .venv20 .venv-bench .venv-dist .venv-lowest .venv-3.* .foreign .demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
