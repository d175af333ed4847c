"""Events. `ts` is the moment at which the fact became known."""

import millstream as ms


class Order(ms.Event):
    """A customer has paid."""

    order_id: str
    customer: str
    amount: float = ms.field(doc="euros")
    ts: ms.EventTime


orders = ms.stream("orders", Order, key="customer", dedupe="order_id", lateness="10m")
ms.source(orders, ms.read.files("data/orders.csv"))
ms.source(orders, ms.read.http())
ms.monitor(orders, ms.expect.rows("amount > 0"))
