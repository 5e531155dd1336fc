"""One file a metric; the registry finds each `create` by entry point. Importing this package imports no library."""
