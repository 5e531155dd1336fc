"""Task folders."""
