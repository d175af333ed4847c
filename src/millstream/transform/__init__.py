"""Tables -> tables, in SQL or in functions over Arrow batches; and a look at what is in them.

port.py        the sql port: `Sql`, `Relation`                     contract.py  the suite its engines pass
parse.py       what a table's SQL reads, says in its header, and where its columns come from
recipe.py      how a table is made, and the fingerprint that says whether it must be made again
build.py       `build`: whole, by intervals, or by rows appended; one commit, with the versions it was made from
mapping.py     a user's function over Arrow batches, wherever an engine calls it
increments.py  which intervals new rows re-open
contents.py    the SQL of `stream.latest()` and `stream.history()`
fit.py         query results as columns that a Delta table holds
estimate.py    rows and bytes that a build would read and write, for `plan`
profile.py     `profile`: a table looked at by two scans                column.py  what is kept of each column; mergeable, for drift
parity.py      two results that should be one, compared row by row
explore.py     a profile for the terminal         page.py  and as a page of HTML
refused.py     what the engine says against a query, in our words
guard.py       `read_only`: one SELECT over known tables, for the console's SQL box and the verb `sql`
"""
