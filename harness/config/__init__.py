"""Command-line words and task.toml become one typed RunSpec, or one error that names every mistake."""

from harness.config.resolve import Settings, resolve, task_schema

__all__ = ["Settings", "resolve", "task_schema"]
