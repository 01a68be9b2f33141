"""Statistics of tallies: posteriors, Bayesian quantities, sequential tests, non-stationarity. Pure.

A tally gives a `Sample` for each variant. `nonstationary` combines the samples of periods,
`families` has a class per metric kind that builds its `Posteriors`, and `bayes` and `sequential`
use those.

Every result is a deterministic function of its arguments: no sampling, no clock, and no BLAS (sums
run in NumPy's own loops), so one machine gives the same bits every time. Between machines the last
bits may differ: the C library and NumPy's vector code (AVX2, AVX-512, NEON) may round `exp` and
`log`, or order a sum, in their own way. No assignment depends on those bits: the weights of an
allocation are integers, rounded once and then published.
"""
