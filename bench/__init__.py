"""Measurements of the patterns against honest rivals: `python -m bench --help`."""
