"""Under which names a sink keeps its positions in the tables it fills."""

from __future__ import annotations

from collections.abc import Iterable

from millstream.log.port import Topic

APP = "millstream/"
"""`millstream/<topic uuid>/<partition>` -> the offset that lands next."""
TIME = "millstream-time/"
"""`millstream-time/<topic uuid>/<partition>` -> the newest event time that landed, in microseconds."""


def app_id(topic: Topic, partition: int) -> str:
    return f"{APP}{topic.uuid}/{partition}"


def time_id(topic: Topic, partition: int) -> str:
    return f"{TIME}{topic.uuid}/{partition}"


def topics_of(apps: Iterable[str]) -> set[str]:
    """The topics, by uuid, that a table with these app ids was filled from."""
    return {app.split("/")[1] for app in apps if app.startswith(APP) and app.count("/") == 2 and app.rpartition("/")[2].isdigit()}
