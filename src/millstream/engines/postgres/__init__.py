"""PostgreSQL behind the port of the state.

```text
state.py     documents and leases: PostgresState
server.py    one connection, made again when the server was away; errors
```
"""
