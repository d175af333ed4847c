"""HDFS, as the lake's files; no Java in the client.

files.py     the files port       streams.py  what `create` and `open` return
place.py     the URL's options    errors.py   hdfs-native's and delta-rs' errors as ours
webhdfs.py   the one thing that only the namenode's HTTP side does: erasure coding
"""
