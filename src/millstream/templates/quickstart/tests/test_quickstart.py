"""Plain pytest. `lab` is a world of its own, with a clock that the test moves.

Nothing of the project's data is touched.
"""

from datetime import datetime

from live import offer
from models import buyer, visit_set
from streams import Order, Visit, orders

from features import spend
from millstream.testing import Lab


def paid(order: str, amount: float, at: str, customer: str = "ada") -> Order:
    return Order(order_id=order, customer=customer, amount=amount, ts=datetime.fromisoformat(at))


def test_spend_forgets_after_a_day(lab: Lab) -> None:
    lab.send(orders, paid("a", 150.0, "2026-01-01T09:00Z"), paid("b", 20.0, "2026-01-01T21:00Z"))
    lab.at("2026-01-01T22:00Z")
    assert lab.features(spend, customer="ada")["total_1d"] == 170.0  # both readers, or it fails
    lab.at("2026-01-02T10:00Z")
    assert lab.features(spend, customer="ada")["total_1d"] == 20.0
    assert lab.features(spend, customer="ada")["big_7d"] == 0.5


def test_nothing_from_the_future(lab: Lab) -> None:
    lab.assert_no_leak(visit_set, tries=40)


def test_the_offer_knows_what_was_spent(lab: Lab) -> None:
    lab.stub(buyer, lambda row: 0.9 if row["spend__orders_7d"] else 0.1)
    lab.send(orders, paid("a", 30.0, "2026-01-01T09:00Z"))
    for customer, expected in (("ada", 0.9), ("bob", 0.1)):
        asked = Visit(
            visit_id=f"v-{customer}", customer=customer, device="desk", ts=datetime.fromisoformat("2026-01-02T09:00Z")
        )
        assert lab.predict(offer, asked).prediction == expected
