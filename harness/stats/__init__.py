"""Intervals, paired tests, multiplicity, power and checkpoint choice, all on (N, K) statistics."""
