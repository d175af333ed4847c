"""Events. `ts` is the moment at which the fact became known, never earlier."""

import millstream as ms


class Scheduled(ms.Event):
    """A flight will leave in an hour: the moment at which we predict, and the body of a request."""

    flight_id: str  # 2013-01-01-UA-1545-EWR
    carrier: str
    origin: str
    dest: str
    tailnum: str | None = None
    distance: float
    local_hour: int  # scheduled departure, origin's clock
    ts: ms.EventTime


class Departure(ms.Event):
    """A flight has left the gate."""

    flight_id: str
    carrier: str
    origin: str
    dest: str
    delay: float = ms.field(doc="minutes, negative if early")
    ts: ms.EventTime


class Arrival(Departure):
    """A flight has landed; `delay` is the arrival delay."""


class Weather(ms.Event):
    """An hour's observation, known when the hour has ended."""

    origin: str
    temp: float | None = None
    wind_speed: float | None = None
    visib: float
    ts: ms.EventTime


scheduled = ms.stream("scheduled", Scheduled, key="flight_id", partitions=2, dedupe="flight_id")
departures = ms.stream("departures", Departure, key="flight_id", partitions=2, dedupe="flight_id", lateness="10m")
arrivals = ms.stream("arrivals", Arrival, key="flight_id", partitions=2, dedupe="flight_id", lateness="10m")
weather = ms.stream("weather", Weather, key="origin", partitions=1, lateness="1h")

for s in (scheduled, departures, arrivals, weather):
    ms.source(s, ms.read.files(f"data/{s.name}.csv"))
    ms.source(s, ms.read.http())

ms.monitor(
    departures, ms.expect.fresh("12h"), ms.expect.volume(200, every="1d"), ms.expect.rows("delay between -120 and 1500")
)
ms.monitor(weather, ms.expect.not_null("visib"))
