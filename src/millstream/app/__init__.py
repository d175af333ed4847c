"""The only room that wires: it reads settings, builds engines and drives the other rooms.

workspace.py   a project with its settings and its engines, each built on first use
settings.py    files, environment and flags into settings
run/           plan, steps, runner: assets brought up to date
export/        the project as jobs of another orchestrator
cli/           one file a group of verbs
cluster/       existing engines on one machine, for development and tests
supervise.py   `up`: every continuous part as a watched process
demo/          the main job, by the public commands and the client only
console/       pages for a browser
"""
