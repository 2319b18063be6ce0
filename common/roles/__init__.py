"""The roles that `common.serve` starts: predictor, proxy, worker, job and agent."""
