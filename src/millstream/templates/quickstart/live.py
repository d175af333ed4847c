"""What answers over HTTP, and what must stay true of its answers."""

from models import buyer, visit_set, will_buy

import millstream as ms
from millstream import expect

offer = ms.endpoint("offer", buyer["champion"])

ms.monitor(offer, expect.drift(visit_set), expect.skew(), expect.performance(will_buy, "auc >= 0.6", window="14d"))
