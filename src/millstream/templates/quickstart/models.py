"""Will a visit end in an order? One model, in twenty lines of NumPy.

Any object with `predict_proba` or `predict` will do.
"""

import numpy as np
from streams import orders, visits

import millstream as ms
from features import habit, spend

will_buy = ms.outcome(orders, on="customer", within="2h", otherwise=False)  # no order within two hours is an answer too

visit_set = ms.training_set(
    "visit_set",
    at=visits,
    label=will_buy,
    features=[visits.fields("device"), spend, habit],
    derive={"habitual": "spend__orders_7d / habit__visits_7d"},
    until="2026-02-01",
    split=ms.by_time(test="7d"),
)


class Logistic:
    """Logistic regression on columns of mean 0 and deviation 1; what is missing is taken for the mean."""

    def __init__(self, X: np.ndarray, y: np.ndarray, ridge: float) -> None:
        self.mean, self.scale = np.nanmean(X, axis=0), np.nanstd(X, axis=0) + 1e-9
        A, self.w = self.columns(X), np.zeros(X.shape[1] + 1)
        for _ in range(20):
            p = 1 / (1 + np.exp(-A @ self.w))
            hessian = (A * (p * (1 - p))[:, None]).T @ A + ridge * np.eye(len(self.w))
            self.w -= np.linalg.solve(hessian, A.T @ (p - y) + ridge * self.w)

    def columns(self, X: np.ndarray) -> np.ndarray:
        return np.column_stack([np.ones(len(X)), np.nan_to_num((X - self.mean) / self.scale)])

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.predict_proba(X)[:, 1] > 0.5

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        p = 1 / (1 + np.exp(-self.columns(X) @ self.w))
        return np.column_stack([1 - p, p])


@ms.model(visit_set, metrics=["auc", "brier"], promote_if="auc >= champion.auc")
def buyer(train: ms.Train, *, ridge: float = 1.0) -> object:
    return Logistic(np.asarray(train.X), np.asarray(train.y), ridge)
