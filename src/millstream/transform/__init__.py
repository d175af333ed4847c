"""Tables -> tables, in SQL or in functions over Arrow batches; and profiles of what is in them.

port.py        the sql port: `Sql`, `Relation`
contract.py    the suite that its engines pass
parse.py       what a table's SQL reads, and where its columns come from
recipe.py      how a table is built, and the fingerprint that tells whether it must be built again
build.py       `build`: whole, by intervals, or by appending; one commit
mapping.py     a user's function over Arrow batches
given.py       what such a function gives, as batches
increments.py  which intervals new rows re-open
contents.py    the SQL of `stream.latest()` and `stream.history()`
identity.py    whether the rows have the time and the key that the table declares
fit.py         query results as columns of a Delta table
estimate.py    rows and bytes that a build would read and write, for `plan`
guard.py       one read-only SELECT over known tables, for the verb `sql` and the console
refused.py     what an engine has against a query, in our words
pointed.py     where in a query the engine points
profile.py     `profile`: a table in two scans
column.py      what is kept of each column; mergeable, for drift
buckets.py     edges and counts of histograms
parity.py      two results compared row by row
explore.py     a profile for the terminal and as a page
cell.py        values in tables of the terminal
plain.py       values in JSON and CSV
"""
