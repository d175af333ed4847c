"""Assets brought up to date: what there is, what is stale and why, and the doing of it.

step.py      what planner and runner know of an asset: its definition, its inputs, its price, its making
intake.py    files into the log, the log into tables
steps.py     one class a kind of asset that is built from tables; all steps of a project
select.py    `+x`, `x+`, `kind:table`, `state:changed`
plan.py      what a run would do, why, and what it would cost
runner.py    the embedded orchestrator: dependency order, in parallel where safe, retries, history, resume
job.py       one group of an exported manifest, as another orchestrator's task
claim.py     the right of one attempt to commit
lifeline.py  no orphans
feedback.py  decisions and labels back into outcomes, rewards and posteriors
"""
