"""What every pattern does, on every runtime: written once, run over the rows of tests/patterns.py."""
