"""The lake's tables published to a catalog, by which other tools find them by name: after the commits, never in them.

One pass tells what has changed since the last, so it does not matter how many were missed. A version that a catalog
names is pinned first and let go when a newer one has taken its place: vacuum keeps its files for as long as the catalog
is behind.
"""

from __future__ import annotations

from collections.abc import Iterable

from millstream.base.errors import MillstreamError, NotFound, Unreachable
from millstream.lake import deltalog, pins
from millstream.lake.lake import Lake
from millstream.lake.port import Catalog, Listing
from millstream.lake.table import LakeTable

_PLAIN_FEATURES = {"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"}


def behind(lake: Lake, catalog: Catalog) -> tuple[list[str], list[str]]:
    """Tables that the catalog lacks or has at another version, and tables that the lake lacks. Raises Unreachable."""
    known, names = catalog.known(lake.files.root), lake.names()
    late = [name for name in names if not _stands(lake, catalog, name, known.get(name))]
    return late, sorted(set(known) - set(names))


def _stands(lake: Lake, catalog: Catalog, name: str, version: int | None) -> bool:
    """Whether the catalog has the newest version, and this table's: the pins of one that was dropped went with it."""
    newest = deltalog.newest(lake.files, name)
    return version == newest and f"{catalog.name}@{newest}" in pins.pinned(lake.files, name).get(newest, ())


def publish(lake: Lake, catalog: Catalog, only: Iterable[str] | None = None) -> dict[str, MillstreamError]:
    """Tell the catalog what has changed, one table after the other.

    Args:
        only: Tables to look at; all of them when None.

    Returns:
        Name -> why that table could not be published; the others were.

    Raises:
        Unreachable: The catalog does not answer. The next pass makes up for it.
    """
    late, gone = behind(lake, catalog)
    failed: dict[str, MillstreamError] = {}
    for name in (name for name in late if only is None or name in set(only)):
        try:
            _tell(lake.table(name), catalog)
        except NotFound:  # dropped a moment ago
            continue
        except Unreachable:
            raise
        except MillstreamError as error:
            failed[name] = error
    for name in gone if only is None else ():
        catalog.forget(lake.files.root, name)
    return failed


def _tell(table: LakeTable, catalog: Catalog) -> None:
    by = f"{catalog.name}@"
    table.pin(table.version, f"{by}{table.version}")
    catalog.tell(listing(table))
    for version, holders in pins.pinned(table.files, table.name).items():
        for holder in (h for h in holders if h.startswith(by) and version < table.version):
            table.unpin(holder)


def listing(table: LakeTable) -> Listing:
    """What a catalog is sent about this version."""
    protocol = table.delta.protocol()
    plain = protocol.min_reader_version == 1 or (
        protocol.min_reader_version == 3 and _PLAIN_FEATURES.issuperset(protocol.reader_features or ())
    )
    return Listing(table.files.root, table.uuid, table.snapshot(), table.partition_by, plain)
