"""The pages on the protocol and on features name what the code has: crash points, app ids, limits."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from millstream.declare import stream as streams
from millstream.engines.sqlite import disk
from millstream.features import define, online, state, updater, window
from millstream.lake import checkpoint, clean, landing, positions, ruling, table
from millstream.log import dedupe, kept

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = (ROOT / "docs" / "exactly-once.md").read_text(encoding="utf-8")
FEATURES = (ROOT / "docs" / "feature-semantics.md").read_text(encoding="utf-8")
HOUR_US = 3_600_000_000


def points() -> set[str]:
    """Names of all crash points of the source."""
    return {
        name
        for file in (ROOT / "src").rglob("*.py")
        for name in re.findall(r'\breach\("([a-z]+\.[a-z]+)"\)', file.read_text(encoding="utf-8"))
    }


def test_every_crash_point_is_on_the_page_and_no_other() -> None:
    # Kafka's setting
    named = {name for name in re.findall(r"`([a-z]+\.[a-z]+)`", PROTOCOL) if not name.endswith((".py", ".md"))} - {
        "transactional.id"
    }
    assert len(points()) > 20 and named == points()


def test_every_point_of_a_commit_has_its_row() -> None:
    """What a sink passes on its way: the next worker's view of each is in the table of section 5."""
    of_a_commit = {name for name in points() if name.startswith(("sink.", "commit.", "append."))}
    assert set(re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", PROTOCOL, re.MULTILINE)) == of_a_commit


@pytest.mark.parametrize(
    "app",
    [
        positions.APP,
        positions.TIME,
        positions.LETTERS,
        ruling.NUMBER,
        ruling.RULE,
        ruling.AMENDED,
        ruling.IDENTITY,
        table.REWRITE,
    ],
)
def test_app_ids_are_on_the_page(app: str) -> None:
    assert f"`{app}" in PROTOCOL


def test_limits_of_the_protocol() -> None:
    limits = landing.SinkLimits()
    assert f"{limits.rows:,} records, {limits.bytes >> 20} MB or {limits.age.seconds} s" in PROTOCOL
    assert f"at most {landing._TRIES} tries" in PROTOCOL
    assert timedelta(hours=1) == landing.HOLES_AFTER and "after an hour at the latest" in PROTOCOL
    assert (
        f"every {checkpoint.EVERY} commits" in PROTOCOL
        and f"finds {checkpoint.OVERDUE} commits without one" in PROTOCOL
    )
    assert f"older than {clean.KEPT.days} days, or beyond {clean.AT_MOST:,}" in PROTOCOL
    assert (
        disk.FLOOR_BYTES == disk.RESERVE_BYTES == 64 << 20
        and "must leave 64 MB, and there is a reserve file of 64 MB" in PROTOCOL
    )
    assert (
        f"{dedupe.MEMORY_BYTES >> 20} MB in memory ({kept.ID_BYTES} bytes an id)" in PROTOCOL
        and f"with {kept.FILTER_BYTES} bytes of memory each" in PROTOCOL
    )
    assert (
        'dedupe_within: Duration = "24h"' in Path(streams.__file__).read_text(encoding="utf-8")
        and "(`dedupe_within`, 24 h by default)" in PROTOCOL
    )


def test_limits_of_features() -> None:
    assert (
        online.HEAD_US == 2 * HOUR_US
        and "for the last two hours before its clock" in FEATURES
        and "floor(clock - 2 h, 5 min)" in FEATURES
    )
    assert updater.BEYOND_US == HOUR_US and "more than an hour ahead" in FEATURES
    assert define.DEFAULT_SCALE == 6 and "rounded to 6 decimal places" in FEATURES
    assert (
        state.LIMIT == 9e15
        and "below 9 · 10^15" in FEATURES
        and state.grid_limit(6) == 9e9
        and "below 9 · 10^9 with scale 6" in FEATURES
    )
    assert state.MOST == 9e37 and "n Σq² reaches 9 · 10^37" in FEATURES
    assert [window.hop_us(h * HOUR_US) // 60_000_000 for h in (11, 12, 287, 288)] == [5, 60, 60, 1440]


def test_the_contents_list_every_section() -> None:
    heads = re.findall(r"^## (\d+)\. (.+)$", PROTOCOL, re.MULTILINE)
    listed = re.findall(r"\| (\d+) \| \[([^\]]+)\]", PROTOCOL)
    assert [int(number) for number, _ in heads] == list(range(1, len(heads) + 1))
    assert sorted(listed, key=lambda row: int(row[0])) == heads
