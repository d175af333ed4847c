"""DuckDB, as the sql port.

sql.py        `DuckDbSql`: queries and scripts, streamed; each on an instance of its own that can reach nothing else
instance.py   making, locking, stopping and clearing away those instances
relations.py  a lake snapshot or Arrow data as a view; Arrow types as DuckDB's
copies.py     files that lie elsewhere, kept on this machine's disk
values.py     parameters with their types
"""
