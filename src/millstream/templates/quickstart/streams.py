"""Events. `ts` is the moment at which the fact became known."""

from typing import Literal

import millstream as ms


class Visit(ms.Event):
    """A customer opens the shop: the moment at which we predict, and the body of a request."""

    visit_id: str
    customer: str
    device: Literal["phone", "desk"]
    ts: ms.EventTime


class Order(ms.Event):
    """A customer has paid."""

    order_id: str
    customer: str
    amount: float = ms.field(doc="euros")
    ts: ms.EventTime


visits = ms.stream("visits", Visit, key="customer", dedupe="visit_id")
orders = ms.stream("orders", Order, key="customer", dedupe="order_id", lateness="10m")

for s in (visits, orders):
    ms.source(s, ms.read.files(f"data/{s.name}.csv"))
    ms.source(s, ms.read.http())

ms.monitor(orders, ms.expect.rows("amount > 0"))
