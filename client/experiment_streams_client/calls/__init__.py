"""Every call of the API, described once, by group: what is sent, and what comes back.

A description does nothing. `ExperimentClient` and `AsyncExperimentClient` have one method for each
function of a group, with the same parameters, and differ only in how they carry a description out.
"""
