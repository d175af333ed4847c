"""The engines: one folder each, found by the entry points of pyproject.toml. An engine imports ports,
the helpers that its own ports name, `base` and `declare`, nothing else.

sqlite/    embedded log, schemas, online store, state
local/     the local disk as the lake's files; this process as sink; this machine as orchestrator
files/     files as a source
duckdb/    SQL in this process
mlflow/    tracking in an MLflow database or server
kafka/     Kafka as the log
registry/  a schema registry with Confluent's REST API
hdfs/      HDFS as the lake's files
hive/      a Hive metastore as the catalog
spark/     Spark as SQL engine and as sink
redis/     Redis as the online store
postgres/  PostgreSQL as the state
airflow/   Airflow as the orchestrator
"""
