"""serial: predictors that depend on each other, one after the other."""
