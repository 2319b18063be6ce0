"""One answer out of several predictors: a vocabulary (`flow.py`), addresses (`settings.py`), a role (`proxy.py`).

A pattern's composition is code that reads like the drawing in its README: `call` one, `in_order`, `side_by_side`,
`choose`.
"""
