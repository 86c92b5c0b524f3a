"""Anytime-valid comparison of a candidate with the stable beside it: looking often costs nothing.

`errors` compares counts of failed requests, `latency` compares histograms, `hard` sees what needs no statistics. All are
pure: cumulative counters and a moment in, a small new state out, and a verdict on a state. The state is all that a later
look needs, so it can lie in `ModelService.status`; a look that is repeated adds nothing, one that was missed is made up
by the next, and a counter that fell (a restarted pod) costs the interval it fell in.

The rule, the same for errors and latency, has two limits:

- **level**: of candidates that are *not worse* than the stable, at most this share is ever failed, however often and
  however long one looks. This is the promise against false rollbacks (1 percent).
- **tolerance**: a worse candidate is failed only when the data also speaks, with `1 - tolerance_level`, against an
  increase within the tolerance. So what somebody called tolerable is rolled back rarely, and twice the latency soon.

Passed needs the opposite shown at `level`: the increase is smaller than the tolerance. Anything else is Inconclusive,
with the numbers: never a pass that is only a lack of evidence.

Evidence is an e-process: a bet against the null hypothesis whose capital, by Ville's inequality, exceeds 1/level with
probability at most `level` when the null holds (Ramdas, Grünwald, Vovk, Shafer, "Game-theoretic statistics and safe
anytime-valid inference", arXiv 2210.01948). How it does against thresholds and against Mann-Whitney is measured by
`make bench-decisions`.
"""
