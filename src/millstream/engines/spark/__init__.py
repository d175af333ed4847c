"""Spark as the sql port and as the sink port.

SQL:
sql.py        `SparkSql`: queries and scripts
session.py    the URL, the one Spark of a process, its errors
work.py       one query at work and its batches
script.py     the statements of a script, planned
relations.py  lake snapshots and Arrow data as views
values.py     parameters
scratch.py    the folder of one query
executor.py   a user's function on an executor
shipped.py    what goes there with it: modules, packages

DuckDB's dialect as Spark's:
dialect.py     a query translated
binder.py      DuckDB binds names and types, and finds mistakes
rules.py       what a rule is, and the tables of the reference page
desugar.py     constructs rewritten first
operators.py   operators, casts and numbers
functions.py   text, lists and structs
aggregates.py  aggregates and windows
times.py       times
kinds.py       DuckDB's types and Spark's

The sink:
sinks.py   `SparkSinks`: workers that share one Spark
sink.py    `SparkSink`: micro-batches planned and committed
errand.py  an executor's task for the sink
"""
