# The verbs. Everything runs in the environment that `make` is called from.
.PHONY: setup fmt check test cover mutants schema

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

# Plants silent failures in a copy, one at a time, and expects tests to notice each.
mutants:
	python tests/mutants/run.py $(IDS)

# The schema that editors use for task.toml, from the specs themselves.
schema:
	python -c "import json; from harness.config import task_schema; print(json.dumps(task_schema(), indent=2))" > tasks/task.schema.json
