"""The command line: `main.py` lists the verbs and loads the file of the one that is called.

main.py        the verbs, global options, errors to exit codes
context.py     what every verb is given: project, settings, output
words.py       verbs and options, with the nearest known one
project.py     init, check, doctor, config, completion
work.py        plan, run, ingest, up and its parts
look.py        sql, explore, show, verify, trace
live.py        serve, monitor, console
experiment.py  experiment
dead.py        dead: records that cannot be written to the lake
export.py      export, run-step
cluster.py     cluster and its own verbs
demo.py        demo
"""
