"""Reporters: a finished run as a page for people, a summary for a pull request and a table for a notebook."""
