"""prep_pred: preprocessing and inference on separate servers."""
