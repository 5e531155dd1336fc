"""The seeded grammar that writes the demo model's pretraining corpus: many small text tasks in chat form."""

from harness.demo.corpus.dice import Dice
from harness.demo.corpus.episode import Episode
from harness.demo.corpus.mix import episodes

__all__ = ["Dice", "Episode", "episodes"]
