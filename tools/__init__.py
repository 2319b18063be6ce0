"""Generates the tables and numbers in the documentation."""
