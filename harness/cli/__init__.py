"""The command line: the only place that prints, exits or reads argv.

Importing it imports no model library, so that help, lists and reports are quick.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, after a look whether the packages that Python finds are the harness's own."""
    from harness.cli.terminal import echo
    from harness.core.errors import EnvironmentFault
    from harness.registry.own import require_own_packages

    try:
        require_own_packages()
    except EnvironmentFault as fault:
        echo(str(fault), error=True)
        sys.exit(fault.exit_code)
    from harness.cli import app

    app.main()


__all__ = ["main"]
