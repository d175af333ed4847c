select carrier, date_trunc('day', ts) as day, count(*) as flights, avg(arr_delay) as delay, avg(late::int) as late
from flight_days group by all
