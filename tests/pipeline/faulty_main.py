"""`python tests/pipeline/faulty_main.py FAULT AT WORDS...`: the command line with a k-th disk operation that fails.

Prints the number of operations on the last line of stdout.
"""

from __future__ import annotations

import sys
from typing import cast

# By its folder: an installed package may call itself `tests` too.
from faults import Fault, Faulty

if __name__ == "__main__":
    from harness.cli import app

    faulty = Faulty(cast(Fault, sys.argv[1]), int(sys.argv[2]))
    sys.argv = ["harness", *sys.argv[3:]]
    faulty.install()
    code = app.run_command_line()
    print(f"\n{faulty.count}", flush=True)
    sys.exit(code)
