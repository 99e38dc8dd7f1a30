"""Shipped nets as files for other runtimes, and such files read again; docs/export.md says what they hold."""
