"""Models: how each is made. `python -m models` builds them; nothing that serves imports this package."""
