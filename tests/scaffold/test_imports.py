from __future__ import annotations

import subprocess
import sys


def test_looking_at_rows_imports_no_model_library() -> None:
    probe = "import sys, harness.scaffold, harness.advice, harness.config; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "transformers", "datasets", "nltk", "sklearn", "peft", "accelerate", "pyarrow"}
