"""Apache Kafka, through librdkafka: topics of Avro records with Confluent framing, positions in a compacted topic.

address.py    the URL: brokers, security, what topics are created with
java.py       the same for Kafka's own client, which other engines have
log.py        as a log
topics.py     topics created, checked, described
sending.py    appends: an idempotent producer, acknowledged by all replicas in sync
writing.py    fenced writers of splits: transactions
positions.py  the positions of splits: a record each, of a compacted topic
reading.py    read-committed readers whose position passes holes
collecting.py pauses Python's garbage collector while many records are decoded
marks.py      up to where each reader has a topic: a consumer group each
upkeep.py     retention: what is old and below every mark is deleted
sharing.py    who reads which partitions: a consumer group, used for nothing else
errors.py     librdkafka's errors as ours
"""
