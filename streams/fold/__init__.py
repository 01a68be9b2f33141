"""Records of source topics, decoded and folded into cells: shared by worker and replay.

`impressions` and `observations` fold the records of one partition, whose state is in `partition`;
`deduplication` and `batch_sequences` remember what has been counted already. `experiment_state`
applies the records of `commands` and `tallies`.
"""
