"""Files as a source: CSV, JSON Lines, Parquet and Avro, compressed or not, a folder watched for new ones.

source.py     the port: splits are files
position.py   where a file stands, and whether it is still the same file
records.py    bytes cut into records: lines, and quoted fields that span them
stream.py     a file's bytes, decompressed, a buffer of whole records at a time
formats.py    records of CSV and JSON Lines as columns
text.py       CSV and JSON Lines as batches
letters.py    how records are named, and how bad ones are kept
columnar.py   Parquet and Avro as batches
avro_slow.py  Avro value by value, where the fast reader gives up
"""
