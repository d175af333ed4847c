from streams import arrivals, scheduled

import millstream as ms
from features import carrier_landed, carrier_left, dest_landed, origin_left, route_landed, sky

# One truth, four readers: the label, the reward, the experiment's metric, the performance monitor.
landed_late = ms.outcome(arrivals, on="flight_id", value="delay > $late_minutes", within="36h")  # no landing: no label

late_set = ms.training_set(
    "late_set",
    at=scheduled,
    label=landed_late,
    until="2013-11-01",
    split=ms.by_time(valid="30d", test="31d"),
    features=[
        scheduled.fields("carrier", "origin", "dest", "distance", "local_hour"),
        carrier_left,
        carrier_landed,
        route_landed,
        origin_left,
        dest_landed,
        sky,
    ],
    derive={"worsening": "origin_left__delay_3h - origin_left__delay_7d", "rush": "local_hour between 16 and 20"},
)


@ms.model(late_set, metrics=["auc", "brier"], promote_if="auc >= champion.auc")
def trees(train: ms.Train, *, leaves: int = 31, rounds: int = 150) -> object:
    from lightgbm import LGBMClassifier, early_stopping

    fit = LGBMClassifier(n_estimators=rounds, num_leaves=leaves, verbose=-1)
    return fit.fit(
        train.X,
        train.y,
        categorical_feature=train.categorical,
        eval_set=[(train.valid.X, train.valid.y)],
        callbacks=[early_stopping(20)],
    )


@ms.model(late_set, metrics=["auc", "brier"], promote_if="auc >= champion.auc")
def linear(train: ms.Train, *, c: float = 0.1) -> object:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), train.categorical),
        (make_pipeline(SimpleImputer(), StandardScaler()), train.numeric),
    )
    return make_pipeline(columns, LogisticRegression(C=c, solver="newton-cholesky")).fit(train.X, train.y)
