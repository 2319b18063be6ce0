"""Composition: one response out of the responses of several predictors.

`flow.py` has the functions that a pattern's composition is written with: `call` one predictor, run steps `in_order`,
run calls `side_by_side`, `choose` a branch. The code then has the same shape as the diagram in the pattern's README.
`predictor_health.py` polls the predictors, `backend.py` serves the composition as models, and `in_process.py` calls
models of this process in place of predictors.
"""
