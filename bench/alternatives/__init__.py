"""Roles that serve a pattern with a library's part in place of one of ours.

`ALTERNATIVE=fastapi python -m common.serve bench.alternatives.routes` starts one, like any role. `bench/rent.py`
measures each of them beside the pattern as it is. A part is passed in as an argument where the code takes one. Where it
does not, the part is replaced in its module before the application is built, and the docstring says so.
"""
