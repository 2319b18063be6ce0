"""Writes the tables and numbers that the documentation shows."""
