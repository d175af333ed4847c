"""Local times that are not one moment of their zone: what each format says of them, and that their neighbours land."""

from __future__ import annotations

from fuzz_columnar import written  # noqa: F401  (the folder of helpers is on the path)
