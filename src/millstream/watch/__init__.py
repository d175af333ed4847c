"""Is it well, and why not: monitors, alerts, and the trace of one decision.

verdict.py      what a check found
scene.py        what checks look at: lake, log, streams, and the project's clock
expect.py       freshness, volume, contract, nulls, rows: one check, one verdict
drift.py        two profiles compared: distances, and what the sample's size allows
performance.py  metrics of ripe decisions
monitor.py      run a monitor, keep its history and its episodes
alert.py        a webhook and a log line, once an episode
trace.py        a decision back to rows, versions, offsets and lines of files
"""
