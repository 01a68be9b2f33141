"""How many units an experiment needs, before it is begun. Pure.

`assumed` is what is supposed of the metric, `fixed` the sizes that have a formula, and `simulation`
runs whole experiments through the code that decides about real ones.
"""
