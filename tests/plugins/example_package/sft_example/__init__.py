"""Plug-ins for the harness from a package of their own."""
