"""Off-policy evaluation on units that were logged with their propensities. Pure.

`estimators` are the formulas, `target` is the policy that is asked about, replayed over the log,
and `report` puts both together.
"""
