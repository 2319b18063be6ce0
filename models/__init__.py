"""Recipes that build the models. `python -m models` runs them. Serving code never imports this package."""
