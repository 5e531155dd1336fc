"""The run folder: the only place that writes, atomic and journaled, verified whenever it is read."""
