-- @key customer, day
select customer, date_trunc('day', ts) as day, count(*) as orders, sum(amount) as spend, max(amount) > $big as big
from orders group by all
