"""A package that was installed without what it needs."""
