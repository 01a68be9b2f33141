"""The statistics of an experiment: one definition for Avro, JSON, the client and the terminal.

Every publication has the fields of `record` for the experiment and those of `variant_report` for
each variant; the `recommendation` follows from the `evidence`. Nothing here needs numpy, a policy
or a server, so a client may import it. Codes and numbers are stored; sentences are properties, or
rendered by `streams.analysis.reasons`.
"""
