"""Planning: the number of units that an experiment needs. Pure.

`assumed` is what is supposed of the metric, `fixed` and `group_sequential` the sizes that have a
formula, `simulation` the simulator of whole experiments, `runs` those of a plan, and `plan` their
summary.
"""
