"""Redis behind the port of the online store.

```text
online.py    generations, updates, fills, expiry: RedisOnline
lookups.py   one MGET a request
blobs.py     tiles of a key as bytes, and how they merge
stand.py     where a generation stands
database.py  names, transactions, what is removed
filling.py   who fills a generation
wire.py      connection, round trips, errors
```
"""
