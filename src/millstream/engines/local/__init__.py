"""The local disk.

files.py     as the lake's files: a folder whose files survive a power cut once they are synced
sink.py      as what lands streams: the sink of this process
"""
