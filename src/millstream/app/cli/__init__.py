"""The command line: `main.py` lists the verbs and loads the file of the one that is called.

main.py      the verbs, global options, errors to exit codes
context.py   what every verb is given: project, settings, output
words.py     verbs and words, with the nearest one told for an unknown one
project.py   init, check, doctor, config
work.py      plan, run, ingest, up and its parts
export.py    export, run-step
look.py      sql, explore, show, verify, trace
live.py      serve, experiment, monitor
cluster.py   cluster and its own verbs
"""
