"""serial: predictors that are called one after the other, because each needs the output of the one before."""
