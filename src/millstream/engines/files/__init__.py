"""Files as a source: CSV, JSON Lines, Parquet and Avro, compressed or not, a folder watched for new ones.

source.py     the port: splits are files
standing.py   what has become of the files since they were read: grown, renamed, replaced, gone
position.py   where a file stands, and by what it is known again
fingerprint.py  the hash of all bytes so far, updated and resumed
records.py    bytes cut into records: lines, and quoted fields that span them
stream.py     a file's bytes, decompressed, a buffer of whole records at a time
foreign.py    detects files that are not text
formats.py    records of CSV and JSON Lines as columns
text.py       CSV and JSON Lines as batches
letters.py    how records are named, and how bad ones are kept
names.py      columns of a file that are not fields of the event class
columnar.py   Parquet and Avro as batches
avro_slow.py  Avro value by value, where the fast reader gives up
"""
