"""Spark, as the sql port and as a stream's sink.

sql.py        `SparkSql`: queries and scripts
dialect.py    DuckDB's dialect as Spark's; rules.py what a rule is, and the tables that the reference page is made of
              desugar.py, operators.py, functions.py, aggregates.py, times.py: the rules
binder.py     DuckDB, which says what its own dialect means: names, types, mistakes
kinds.py      DuckDB's types and Spark's                       values.py   parameters
script.py     statements, planned                              work.py     one query at work, its batches
executor.py   a user's function on an executor                shipped.py  what goes there with it: modules, packages
relations.py  lake snapshots and Arrow data as views           scratch.py  the folder that goes with a query
sinks.py      `SparkSinks`: workers that share one Spark       sink.py      `SparkSink`: micro-batches planned and committed
errand.py     what an executor does for it
session.py    the URL, the one Spark of a process, its errors
"""
