"""SQLite: the embedded log, schema store, online store and state. One file each; WAL; safe for several processes.

database.py   connections, and the write lock that is fair between processes
log.py        as a log
records.py    Arrow batches as rows of the log
wake.py       followers woken by datagrams
schemas.py    as a schema store (in the log's file)
online.py     as an online store
state.py      as a store of documents and leases
"""
