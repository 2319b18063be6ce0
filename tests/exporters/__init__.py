"""Tests of `python -m models.exporters` with models of each framework."""
