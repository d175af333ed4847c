"""Which arm, and is it better.

assign.py     a unit's place on a salted line, by SHA-256, and the SQL that finds it again bit for bit
phases.py     what an experiment is doing now: phase, pinned arms, weights, running or stopped or shipped (state, not code)
route.py      from a request to an arm and its propensity
bandit.py     posteriors from sufficient statistics, and the probability of each arm, computed and not drawn
learn.py      the posterior's snapshot in state, as of one version of the outcomes
outcomes.py   decisions joined with what became of them: the table `<endpoint>_outcomes`
ab.py         effect, interval, p-value, sample-ratio check, from sufficient statistics
special.py    the incomplete beta and gamma functions behind them
analyse.py    one experiment's report: runs the SQL, calls ab.py and bandit.py
"""
