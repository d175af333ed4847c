from datetime import datetime

from live import late
from models import late_set, linear, trees
from streams import Arrival, Scheduled, arrivals

from features import carrier_landed
from millstream.testing import Lab

NOON = datetime.fromisoformat("2013-11-01T12:00Z")


def landing(flight: str, at: str, delay: float) -> Arrival:
    return Arrival(flight_id=flight, carrier="UA", origin="EWR", dest="IAH", delay=delay, ts=datetime.fromisoformat(at))


def test_late_share_forgets_after_three_hours(lab: Lab) -> None:
    lab.send(arrivals, landing("a", "2013-01-01T09:00Z", 30), landing("b", "2013-01-01T10:00Z", 0))
    lab.at("2013-01-01T11:00Z")
    assert lab.features(carrier_landed, carrier="UA")["late_3h"] == 0.5  # both readers, or it fails
    lab.at("2013-01-01T12:31Z")
    assert lab.features(carrier_landed, carrier="UA")["late_3h"] == 0.0
    assert lab.features(carrier_landed, carrier="AA") == lab.features(carrier_landed, carrier=None)


def test_nothing_from_the_future(lab: Lab) -> None:
    lab.assert_no_leak(late_set, tries=200)


def test_each_arm_answers_with_its_model(lab: Lab) -> None:
    lab.stub(trees, 0.3)
    lab.stub(linear, 0.7)
    for i in range(20):
        ask = Scheduled(flight_id=f"f{i}", carrier="UA", origin="EWR", dest="IAH", distance=1400, local_hour=8, ts=NOON)
        decision = lab.predict(late, ask)
        assert decision.prediction == {"trees": 0.3, "linear": 0.7}[decision.arm or ""]
