"""How a record is named, and how one that cannot be read is kept."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from millstream.engines.files.records import Ints
from millstream.log.port import RAW


def ids(split: str, numbers: Ints) -> pa.Array:
    """`<split>:<number>`."""
    return pc.binary_join_element_wise(pa.scalar(split), pa.array(numbers).cast(pa.string()), ":")


def dead(split: str, found: Sequence[tuple[bytes, str, int]]) -> pa.RecordBatch:
    """Records as found, each with `<split>:<line>: why`."""
    origins = [f"{split}:{line}" for _, _, line in found]
    errors = [f"{origin}: {why}" for origin, (_, why, _) in zip(origins, found, strict=True)]
    return pa.record_batch(
        [
            pa.array([raw for raw, _, _ in found], pa.binary()),
            pa.array(errors, pa.string()),
            pa.array(origins, pa.string()),
        ],
        schema=RAW,
    )
