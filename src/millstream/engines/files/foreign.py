"""What a file is that is not text, as far as its first bytes say: so that it stops with its own name, and not with a
dead letter for each line.
"""

from __future__ import annotations

_BEGINS = (
    (b"\x1f\x8b", "it is compressed by gzip", 'name it .gz, or say compression="gzip" in ms.read.files'),
    (b"\x28\xb5\x2f\xfd", "it is compressed by Zstandard", 'name it .zst, or say compression="zstd" in ms.read.files'),
    (b"BZh91AY&SY", "it is compressed by bzip2", 'name it .bz2, or say compression="bz2" in ms.read.files'),
    (b"PK\x03\x04", "it is a ZIP archive or a spreadsheet", "unpack it, or save it as text"),
    (b"PAR1\x15", "it is a Parquet file", 'name it .parquet, or say format="parquet" in ms.read.files'),
    (b"Obj\x01", "it is an Avro file", 'name it .avro, or say format="avro" in ms.read.files'),
    (b"\xff\xfe\x00\x00", "it is UTF-32", "write it in UTF-8"),
    (b"\x00\x00\xfe\xff", "it is UTF-32", "write it in UTF-8"),
    (b"\xff\xfe", "it is UTF-16", "write it in UTF-8"),
    (b"\xfe\xff", "it is UTF-16", "write it in UTF-8"),
)


def foreign(first: bytes) -> str:
    """What the file is and what to do, from its first bytes; "" for text, good or bad."""
    for begin, what, fix in _BEGINS:
        if first.startswith(begin):
            return f"{what}; {fix}"
    even, odd = first[:16:2], first[1:16:2]
    if len(first) >= 4 and any(even) != any(odd) and (all(even) or all(odd)):
        return "it is UTF-16 (every other byte is 0); write it in UTF-8"
    return ""
