"""Events in order, kept, read again.

port.py       what a log and a schema store promise
contract.py   the suites that prove it
envelope.py   a stream bound to its topic and schema; rows into appends
partition.py  which partition a key belongs to
hashing.py    columns into 64-bit hashes
slices.py     small slices joined
framing.py    batches as records of Kafka with Confluent's framing, and back
dedupe.py     which records repeat an earlier one: a pure function of the log (kept.py: the ids it remembers, in memory and in files)
retention.py  what may be removed, and whom a short disk refuses: pure functions
avro.py       Avro schemas and bodies, one schema's rows as another's (avro_types.py; avro_block.py: batches; avro_records.py: one by one)
schemas.py    which schemas may follow which
"""
