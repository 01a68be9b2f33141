"""What the tallies say: posteriors, probabilities to be best, and confidence sequences. Pure.

From a tally comes a `Sample` for each variant; samples of periods are put together by `forgetting`,
`arrivals` or `strata`; `kinds` tells which model they have and `families` makes its `Posteriors`;
of those one asks `best`, `versus` the control, `remaining` value and `credible` intervals.

Every result is a deterministic function of its arguments: no sampling, no clock, and no BLAS (sums
run in NumPy's own loops), so one machine gives the same bits every time. Between machines the last
bits may differ: the C library and NumPy's vector code (AVX2, AVX-512, NEON) may round `exp` and
`log`, or order a sum, in their own way. No assignment rests on those bits: the weights of an
allocation are integers, rounded once and then published.
"""
