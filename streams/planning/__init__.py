"""How many units an experiment needs, before it is begun. Pure.

`assumed` is what is supposed of the metric, `fixed` and `group_sequential` the sizes that have a
formula, `simulation` the simulator of whole experiments, `runs` those of a plan, and `plan` their
summary.
"""
