"""The one expression language: SQL scalars, checked against a schema, compiled for DuckDB and for Python.

expression.py  compile an expression
scalar.py      the supported subset of SQL, node by node: type, DuckDB text, Python text
code.py        what a node becomes
nodes.py       columns, parameters, constants, common types
arithmetic.py  arithmetic and functions of numbers
logic.py       comparisons, conditions, choices
texts.py       functions of texts, parts of times, casts
kernel.py      the operations that Python and SQL define differently
query.py       what a table's SQL says about itself: tables, parameters, header
facts.py       what the checks know of a text, by its hash
cache.py       results of checks, kept between runs
"""
