"""Monitors, alerts, and the trace of one decision.

monitors.py     the monitors of a project, run and read
monitor.py      run one monitor, keep its verdicts and episodes
verdict.py      what a check found
scene.py        the tables and the clock that checks read
expect.py       freshness, volume, contract, nulls, rows
drift.py        two profiles compared
answered.py     which rows of decisions are compared with which training set
performance.py  metrics of decisions with a known outcome
skew.py         logged look-ups compared with the offline reader
alert.py        a webhook and a log line, once an episode
trace.py        a decision back to rows, versions, offsets and lines of files
traced.py       what a trace holds
render.py       a trace as text
"""
