-- @time ts
-- @incremental 1d lookback 2d
select s.flight_id, s.carrier, s.origin, s.dest, s.ts, d.delay as dep_delay, a.delay as arr_delay,
       a.flight_id is null as cancelled, a.delay > $late_minutes as late
from scheduled s
left join departures d using (flight_id)
left join arrivals a using (flight_id)
where s.ts >= $start and s.ts < $end
