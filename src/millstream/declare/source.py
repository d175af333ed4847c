"""`source`: what fills a stream, and the readers it may read with (`ms.read`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from millstream.declare.arguments import checked
from millstream.declare.missing import Vocabulary
from millstream.declare.noun import Noun, Term
from millstream.declare.plain import Glob, Whole, Zone
from millstream.declare.rules import Name
from millstream.declare.stream import Stream

Format = Literal["csv", "jsonl", "parquet", "avro"]
Compression = Literal["gzip", "zstd", "bz2"]
Pattern = Annotated[str, Glob()]
ZoneName = Annotated[str, Zone()]
Size = Annotated[int, Whole(1)]


@dataclass(frozen=True, kw_only=True)
class Reader(Term):
    """Where records come from; the engine of `kind` reads them.

    Attributes:
        positioned: Positions are kept with the records, so each is read once. Else the sender may send a record again.
    """

    kind: ClassVar[str]
    positioned: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class FileReader(Reader):
    """Files below the project, by a glob; `watch` looks for new ones while `up` runs."""

    kind: ClassVar[str] = "files"
    positioned: ClassVar[bool] = True
    glob: str
    format: Format | None
    compression: Compression | None
    watch: bool
    zone: str
    record_bytes: int = 10_000_000


@dataclass(frozen=True, kw_only=True)
class HttpReader(Reader):
    """The collector's `POST /v1/events/{stream}`. A stream without it takes no POST."""

    kind: ClassVar[str] = "http"


class read(metaclass=Vocabulary):
    """The readers of a source."""

    @staticmethod
    @checked
    def files(
        glob: Pattern,
        *,
        format: Format | None = None,
        compression: Compression | None = None,
        watch: bool = False,
        zone: ZoneName = "UTC",
        record_bytes: Size = 10_000_000,
    ) -> FileReader:
        """Files by a glob relative to the project, in name order.

        Args:
            glob: E.g. "data/*.csv.gz".
            format: By the file's ending when None.
            compression: By the file's ending when None.
            watch: Look for new files while `up` runs.
            zone: Of times that carry none. A local time that it has twice, as its clock is set back, is a dead letter.
            record_bytes: A longer line is a dead letter.
        """
        return FileReader(
            glob=glob, format=format, compression=compression, watch=watch, zone=zone, record_bytes=record_bytes
        )

    @staticmethod
    @checked
    def http() -> HttpReader:
        """Events posted to the collector."""
        return HttpReader()


@dataclass(frozen=True, eq=False, kw_only=True)
class Source(Noun):
    """See `source`."""

    kind: ClassVar[str] = "source"
    into: Stream[Any]
    reader: Reader

    def upstream(self) -> tuple[Noun, ...]:
        return ()


@checked
def source(into: Stream[Any], reader: Reader, *, name: Name | None = None) -> Source:
    """Declare what fills a stream; a stream may have several sources.

    Args:
        into: The stream.
        reader: One of `ms.read`.
        name: Defaults to `<stream>_<reader>`; it names the positions kept, so it must be stable.
    """
    into.fed_by.append(reader)
    return Source(
        name=name or f"{into.name}_{reader.kind}", into=into, reader=reader, doc=f"{reader.kind} into {into.name}"
    )
