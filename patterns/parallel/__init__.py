"""parallel: independent predictors asked side by side, one answer."""
