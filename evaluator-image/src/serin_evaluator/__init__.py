"""Serin's evaluator: measures a candidate model, and those it is compared with, on the suites of its gates.

It measures and never judges: whether a score is good enough is the operator's business.
"""

__version__ = "0.1.0"
