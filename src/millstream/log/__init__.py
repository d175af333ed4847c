"""Events in order, kept, read again.

port.py          what a log and a schema store promise
contract.py      the suites that their engines pass
envelope.py      a stream bound to its topic and schema; rows as appends
partition.py     which partition a key belongs to
hashing.py       columns as 64-bit hashes
slices.py        small slices joined
framing.py       batches as Kafka records with Confluent's framing, and back
dedupe.py        which records repeat an earlier one: a function of the log alone
kept.py          the ids that dedupe remembers, in memory and in files
retention.py     what may be removed, and who is refused on a full disk
avro.py          Avro schemas and bodies
avro_types.py    Arrow types as Avro types
avro_block.py    bodies decoded in batches
avro_records.py  bodies decoded one by one
schemas.py       which schema may follow which
"""
