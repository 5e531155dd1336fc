# The verbs. Everything runs in the environment that `make` is called from.
.PHONY: setup fmt check test cover

setup:
	pip install -c constraints.txt -e ".[dev]"

fmt:
	ruff format .
	ruff check --fix .

check:
	ruff check .
	ruff format --check .
	mypy
	lint-imports

test:
	pytest

cover:
	pytest --cov --cov-report=term-missing:skip-covered
