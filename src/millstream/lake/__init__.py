"""Delta tables that remember every version, and the sink that fills them exactly once.

The store:
port.py            the ports: files, tables, sinks, catalog
contract.py        the suites of files and sinks
table_contract.py  the suite of tables
lake.py            `Lake`: tables by name
table.py           `LakeTable`: append, replace, history, pins
parquet.py         durable data files with statistics
commit.py          one commit, retried until its outcome is known
patience.py        waits for a store that does not answer
deltalog.py        a table's own log, read
checkpoint.py      Delta checkpoints
scan.py            columns of a table in Python
replace.py         some rows replaced, in one commit
edit.py            rows rewritten, in one commit
pins.py            versions that are kept because something names them
catalog.py         tables published to a catalog

The sink:
sink.py        `Sink`: log -> lake, exactly once, in this process
landing.py     the protocol of all sinks: check, commit, check again
batch.py       records of a partition as rows of one commit
judge.py       which records are good, and in what form they are written
sound.py       which values every writer and reader can hold
micros.py      times in nanoseconds, cut to microseconds
culprit.py     the one record that a conversion fails on
late.py        which rows are late
aside.py       records that an operator set aside
dead.py        the table of dead letters
shown.py       any value as readable text
positions.py   under which names a table keeps its positions
ruling.py      rules that verdicts depend on, numbered in the table
earlier.py     ids that the table holds already, for a new worker
lineage.py     which offsets each commit wrote, for ever

Time:
live.py       fed while things happen, or history loaded later
complete.py   histories declared complete
watermark.py  up to when a table is complete by the wall clock

Upkeep and repair:
maintain.py  upkeep, under a lease
compact.py   small files joined
clean.py     commits and files that no version needs
repair.py    torn tails of a table's log
cut.py       a torn table cut back
lost.py      data files that are gone
inspect.py   files that are not as they were written
gaps.py      records given up: found, and accepted once
far.py       rows that lie too far ahead
move.py      moves such rows to the dead letters, in three commits
moving.py    what a partition is without them
unkept.py    rows that were dropped as duplicates of a moved row
verify.py    proves that nothing is missing or doubled
recheck.py   judges records again, for verify
tally.py     counts of what was judged again
"""
