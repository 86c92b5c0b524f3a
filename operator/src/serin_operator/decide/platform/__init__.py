"""What is told of ClusterEvalPolicies and EvalWaivers themselves. Jobs and services go by them without this: see
`decide/policies.py`. Not here: the verdicts under them.
"""

from serin_operator.decide.platform.loop import decide_platform

__all__ = ["decide_platform"]
