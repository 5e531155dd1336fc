"""Trainers: rows in, checkpoints out. Reached by entry point; `harness` never imports them."""
