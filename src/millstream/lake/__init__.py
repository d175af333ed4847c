"""Tables that remember every version, and the sink that fills them exactly once.

port.py      the files port: `Files`, `Snapshot`                 contract.py  the suites of its engines and of sinks (table_contract.py: of tables)
lake.py      `Lake`: tables by name; watermarks                  table.py     `LakeTable`: append, replace, history, pins
replace.py   rows in the place of others, in one commit          parquet.py   durable data files with statistics
deltalog.py  a table's own log, read                             pins.py      versions that something names
commit.py    one commit, until it is known whether it landed     patience.py  waiting out a store that does not answer
scan.py      columns of a table in Python                        checkpoint.py  when and how one is made
landing.py   the rule of all sinks: check, commit, look again    judge.py     which records are good, and in what form they land
sink.py      `Sink`: log -> lake, exactly once, in this process
batch.py     slices of a partition into rows that land           positions.py under which names positions are kept
catalog.py   tables told to a catalog, by which other tools find them by name
dead.py      the quarantine of those that are not good           points.py    named moments at which a process may die
lineage.py   which offsets each commit brought, for ever         verify.py    no gap, no overlap, no double: proven
maintain.py  upkeep under a lease: when something is due         compact.py   small files joined in their place
clean.py     commits and files that no version needs any more    repair.py    torn tails cut off
ruling.py    what verdicts depend on besides the log, numbered   gaps.py      records given up: found, accepted once
aside.py     records that an operator set aside                  culprit.py   which one record a conversion fails on
earlier.py   ids that the table holds, for who takes over        recheck.py   verdicts made again, for verify (tally.py: counts)
inspect.py   files that are not as they were written             cut.py       a torn table cut back, and all told
sound.py     which values every writer and reader can hold       shown.py     any value as a person can read it
far.py       rows that lie too far ahead: found by a bound       move.py      ... moved to the dead letters, in three commits
unkept.py    who shares an id with a moved row: judged again     moving.py    what a partition is without them
edit.py      rows changed where they are, in one commit          live.py      fed while things happen, or loaded history
micros.py    times of nanoseconds, cut
"""
