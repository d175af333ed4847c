"""How the JVMs of a cluster are started: small heaps, one collector thread, the quick compiler only."""

from __future__ import annotations

from pathlib import Path

from millstream.cluster.fetch import java

SMALL = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true")
_OPENED = (
    "java.base/java.lang",
    "java.base/java.util",
    "java.base/java.io",
    "java.base/java.net",
    "java.base/sun.nio.ch",
)
OPENS = tuple(word for package in _OPENED for word in ("--add-opens", f"{package}=ALL-UNNAMED"))
"""What Hadoop reaches into by reflection."""


def jvm(heap_mb: int, path: str, main: str, *options: str, program: Path | None = None) -> list[str | Path]:
    """A command line up to the arguments of `main`.

    Args:
        path: The class path; `folder/*` is every jar of a folder.
        options: Of the JVM.
        program: Another Java than the system's.
    """
    return [program or java(), f"-Xmx{heap_mb}m", *SMALL, *options, "-cp", path, main]
