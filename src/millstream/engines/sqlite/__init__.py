"""SQLite: the embedded log, schema store, online store, state and tracking. One file each; safe for several processes.

database.py   connections, and the write lock that is fair between processes
opening.py    files created whole, or read where nothing can be written
log.py        as a log
records.py    Arrow batches as rows of the log
writing.py    group commit, and fenced writers of splits
reading.py    short read transactions
sharing.py    who reads which partitions
wake.py       followers woken by datagrams
upkeep.py     retention, and small batches joined
disk.py       the free-space floor and the reserve
schemas.py    as a schema store (in the log's file)
online.py     as an online store
lookups.py    its look-ups
state.py      as a store of documents and leases
tracking.py   as tracking: runs and versions of models
"""
