"""A Hive metastore behind the port of the catalog.

```text
catalog.py     tables published, removed, listed: HiveCatalog
versions.py    a version of a table as Hive can read it, whole or not at all
describe.py    tables, columns and partition values in the metastore's words
metastore.py   connection, and its errors as ours
```
"""
