from streams import arrivals, departures, weather

import millstream as ms
from millstream import agg

recent = ["3h", "7d"]
delays = {
    "flights": agg.count(),
    "delay": agg.mean("delay"),
    "worst": agg.max("delay"),
    "late": agg.mean("delay > $late_minutes"),
}

carrier_left = ms.features("carrier_left", departures, key="carrier", windows=recent, aggregates=delays)
carrier_landed = ms.features("carrier_landed", arrivals, key="carrier", windows=recent, aggregates=delays)
route_landed = ms.features("route_landed", arrivals, key=["origin", "dest"], windows=["7d"], aggregates=delays)
origin_left = ms.features("origin_left", departures, key="origin", windows=recent, aggregates=delays)
dest_landed = ms.features("dest_landed", arrivals, key="dest", windows=recent, aggregates=delays)
sky = ms.features(
    "sky",
    weather,
    key="origin",
    windows=["6h"],
    aggregates={"visib": agg.min("visib"), "wind": agg.last("wind_speed"), "temp": agg.last("temp")},
)
