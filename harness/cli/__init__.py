"""The command line: the only place that prints, exits or reads argv.

Importing it imports no model library, so that help, lists and reports are quick.
"""

from harness.cli.app import main

__all__ = ["main"]
