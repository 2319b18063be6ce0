"""Measurements of the patterns against comparable implementations: `python -m bench --help`."""
