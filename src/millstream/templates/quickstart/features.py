"""What was known of a customer at any moment: the same definition for training and for serving."""

from streams import orders

import millstream as ms
from millstream import agg

customer_spend = ms.features(
    "customer_spend",
    orders,
    key="customer",
    windows=["1d", "7d"],
    aggregates={"orders": agg.count(), "spend": agg.sum("amount"), "big": agg.mean("amount > $big")},
)
