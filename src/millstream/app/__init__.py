"""The command line, the console and the demo: everything a user starts.

cli/            the verbs, one file a group
console/        pages for a browser
demo/           the main job, by public commands and the client only
supervise.py    `up`: every continuous part as a watched process
parts.py        the continuous parts, each the body of one process
alarms.py       what `up` prints of monitors
doctor.py       `doctor`: is the environment fine, and is what was written whole
losses.py       what an operator decides: accept a loss, set aside, complete
lookup/         what there is to show, as plain values
experiments.py  start, stop, ship, and the report of a phase
catalog.py      keeps the catalog up to date with the lake
each.py         several things asked for together; one failure costs no other
voice.py        log records and tracebacks without secrets
"""
