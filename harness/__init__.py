"""An evaluation-first harness for supervised fine-tuning."""

__version__ = "0.1.0"

# Part of every run's identity: raised whenever the same spec, data and model would give other numbers.
RESULTS_VERSION = 4
