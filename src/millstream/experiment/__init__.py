"""Which arm, and is it better.

assign.py    a unit's place on a salted line, by SHA-256, in Python and SQL
phases.py    what an experiment is doing now: phase, pinned arms, weights
route.py     from a request to an arm and its propensity
bandit.py    posteriors from sufficient statistics, and the probability of each arm
learn.py     the snapshot of posteriors in state
outcomes.py  decisions joined with their outcomes: the table `<endpoint>_outcomes`
ab.py        effect, interval, p-value, sample-ratio check
special.py   the incomplete beta and gamma functions
analyse.py   one experiment analysed, from its outcomes table
report.py    the analysis as plain values and sentences
"""
