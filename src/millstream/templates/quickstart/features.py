"""What was known of a customer at any moment: the same definition for training and for serving."""

from streams import orders, visits

import millstream as ms
from millstream import agg

spend = ms.features(
    "spend",
    orders,
    key="customer",
    windows=["1d", "7d"],
    aggregates={"orders": agg.count(), "total": agg.sum("amount"), "big": agg.mean("amount > $big")},
)
habit = ms.features("habit", visits, key="customer", windows=["7d"], aggregates={"visits": agg.count()})
