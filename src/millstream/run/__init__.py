"""A project with its engines, and what brings its assets up to date.

workspace.py  a project, its settings and its engines, each built on first use
settings.py   files, environment and flags into settings
binding.py    every table's SQL bound by the engine and not run, for `check`
step.py       what planner and runner know of an asset
steps.py      one class for each kind of asset; all steps of a project
intake.py     steps that bring events in: files into the log, the log into the lake
feedback.py   decisions and labels back into outcomes, rewards and posteriors
sources.py    the project's sources, and how their files stand
unmatched.py  sources whose glob matches no file, and what is there instead
windows.py    what windows of duplicates cost
select.py     `+x`, `x+`, `kind:table`, `state:changed`
plan.py       what a run would do, why, and what it would cost
runner.py     the embedded orchestrator: order, parallel work, retries, history, resume
schedule.py   the embedded scheduler: cron lines and monitors
port.py       the orchestrator port
contract.py   the suite that its engines pass
job.py        one group of an exported manifest, as another orchestrator's task
claim.py      the right of one attempt to commit
lifeline.py   ends a process when its parent is gone
trouble.py    what failed and waits, with its reason and its next try
serving.py    the server of a project: endpoints, collector, feature updaters
parity.py     the project on a sample, by two compute engines, compared
export/       the project as jobs of another orchestrator
"""
