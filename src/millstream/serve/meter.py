"""Counters and histograms in Prometheus' text format, cheap enough for every request."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

BOUNDS_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
Labels = tuple[tuple[str, str], ...]


class Histogram:
    """Durations in seconds, in buckets."""

    def __init__(self) -> None:
        self.counts, self.sum_s = [0] * (len(BOUNDS_S) + 1), 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def lines(self, name: str, labels: Labels) -> Iterable[str]:
        """Cumulative, as the format wants them."""
        total = 0
        for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], self.counts, strict=True):
            total += count
            yield f"{name}_bucket{spelled((*labels, ('le', bound)))} {total}"
        yield f"{name}_sum{spelled(labels)} {self.sum_s:.6f}"
        yield f"{name}_count{spelled(labels)} {total}"


class Meter:
    """What a server counts: requests by endpoint and status, their latency, groups appended, requests in flight."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.decisions: dict[tuple[str, str, str], int] = {}
        self.latency: dict[str, Histogram] = {}
        self.appends: dict[str, Histogram] = {}
        self.in_flight = 0

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        self.requests[endpoint, status] = self.requests.get((endpoint, status), 0) + 1
        self.latency.setdefault(endpoint, Histogram()).add(seconds)

    def decided(self, endpoint: str, arm: str, model: str) -> None:
        self.decisions[endpoint, arm, model] = self.decisions.get((endpoint, arm, model), 0) + 1

    def appended(self, endpoint: str, seconds: float) -> None:
        self.appends.setdefault(endpoint, Histogram()).add(seconds)

    def text(self, gauges: Mapping[str, tuple[str, Mapping[Labels, float]]]) -> str:
        """All of it, and gauges: name -> (help, labels -> value)."""
        lines = [*_head("millstream_requests_total", "counter", "Answers by endpoint and status.")]
        lines += [
            f"millstream_requests_total{spelled((('endpoint', e), ('status', str(s))))} {n}"
            for (e, s), n in sorted(self.requests.items())
        ]
        lines += _head("millstream_decisions_total", "counter", "Decisions by endpoint, arm and model version.")
        lines += [
            f"millstream_decisions_total{spelled((('endpoint', e), ('arm', a), ('model', m)))} {n}"
            for (e, a, m), n in sorted(self.decisions.items())
        ]
        for name, about, histograms in (
            ("millstream_request_seconds", "Time to answer.", self.latency),
            ("millstream_append_seconds", "Time to make a group of decisions durable.", self.appends),
        ):
            lines += _head(name, "histogram", about)
            for endpoint, histogram in sorted(histograms.items()):
                lines += histogram.lines(name, (("endpoint", endpoint),))
        lines += [
            *_head("millstream_in_flight", "gauge", "Requests being answered."),
            f"millstream_in_flight {self.in_flight}",
        ]
        for name, (about, values) in gauges.items():
            lines += [
                *_head(name, "gauge", about),
                *(f"{name}{spelled(labels)} {value:g}" for labels, value in values.items()),
            ]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, about: str) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]


def spelled(labels: Labels) -> str:
    """`{a="x"}`, escaped; empty without labels."""
    escaped = ",".join(
        f'{k}="{v}"'
        for k, v in ((k, v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for k, v in labels)
    )
    return f"{{{escaped}}}" if escaped else ""
