"""The generators of the tasks shipped with the harness; `python -m harness.demo.tasks` writes their rows."""
