"""Task data: strict readers, shapes of rows, splits, and everything that is wrong with them in one pass."""

from harness.data.dataset import Dataset, read

__all__ = ["Dataset", "read"]
