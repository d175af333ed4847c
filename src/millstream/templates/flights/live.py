from models import landed_late, late_set, linear, trees

import millstream as ms
from millstream import assign, expect

arms = {"trees": trees["champion"], "linear": linear["champion"]}
brier = landed_late.score("1 - power(prediction - outcome, 2)")  # higher is better

late_ab = ms.experiment(
    "late_ab",
    arms=arms,
    unit="flight_id",
    assign=assign.ab(0.5, 0.5),
    reward=brier,
    layer="late_model",
    traffic=(0.0, 0.5),
)
late_bandit = ms.experiment(
    "late_bandit",
    arms=arms,
    unit="flight_id",
    assign=assign.thompson(floor=0.02),
    reward=brier,
    layer="late_model",
    traffic=(0.5, 1.0),
)
late = ms.endpoint("late", [late_ab, late_bandit], default=trees["champion"])

ms.monitor(late, expect.drift(late_set, tolerance=0.1, window="30d"), expect.skew())
ms.monitor(late, expect.performance(landed_late, "auc >= 0.6", window="14d"), severity="page")
