"""parallel: several independent predictors are called at the same time, and their predictions are combined."""
