"""Fast forms of common models, each proven on stored rows before it is used.

LightGBM: one row through `LGBM_BoosterPredictForMatSingleRowFast` of its C API (2 us; `Booster.predict` costs 20, the
sklearn wrapper 380). Linear pipelines of sklearn: imputing, scaling and one-hot encoding are affine in each column, so
the pipeline is one dot product and one table look-up a category (5 us; the pipeline costs 1700).
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from millstream.train import answers

Floats: TypeAlias = NDArray[np.float64]
_EQUAL = 1e-12
_C_API_PREDICT_NORMAL, _C_API_DTYPE_FLOAT64 = 0, 1


class _Plain(Protocol):
    def matrix(self, X: Any) -> Floats: ...


class BoosterScorer:
    """A LightGBM booster on one thread: for one row threads cost more than they save."""

    form = "lightgbm"

    def __init__(self, text: str, check: tuple[Floats, Floats] | None = None) -> None:
        import lightgbm

        self._booster = lightgbm.Booster(model_str=text)
        fast = self._fast()
        self.fast = fast is not None and self._agrees(fast, check)
        self.row: Callable[[Floats], float] = fast if fast is not None and self.fast else self._slow

    def matrix(self, X: Any) -> Floats:
        return np.asarray(self._booster.predict(X), dtype=np.float64)

    def _slow(self, x: Floats) -> float:
        return float(self._booster.predict(x.reshape(1, -1), num_threads=1)[0])

    def _fast(self) -> Callable[[Floats], float] | None:
        """The single-row function, with one configuration a thread (it holds a buffer); None when this LightGBM has
        none.
        """
        try:
            from lightgbm.basic import _LIB

            library = _LIB

            begin, predict = (
                library.LGBM_BoosterPredictForMatSingleRowFastInit,
                library.LGBM_BoosterPredictForMatSingleRowFast,
            )
            end, handle = library.LGBM_FastConfigFree, self._booster._handle
        except (ImportError, AttributeError):
            return None
        columns = self._booster.num_feature()
        local = threading.local()

        class Prepared:
            def __init__(self) -> None:
                self.config = ctypes.c_void_p()
                self.length, self.out = ctypes.c_int64(), (ctypes.c_double * 1)()
                code = begin(
                    handle,
                    ctypes.c_int(_C_API_PREDICT_NORMAL),
                    ctypes.c_int(0),
                    ctypes.c_int(-1),
                    ctypes.c_int(_C_API_DTYPE_FLOAT64),
                    ctypes.c_int32(columns),
                    ctypes.c_char_p(b"num_threads=1"),
                    ctypes.byref(self.config),
                )
                if code != 0:
                    raise OSError("LightGBM refused a single-row configuration")
                self.args = (self.config, ctypes.byref(self.length), self.out)

            def __del__(self) -> None:
                if self.config:
                    end(self.config)

        def row(x: Floats) -> float:
            try:
                prepared = local.prepared
            except AttributeError:
                prepared = local.prepared = Prepared()
            config, length, out = prepared.args
            if predict(config, ctypes.c_void_p(x.ctypes.data), length, out) != 0:
                raise OSError("LightGBM refused a row")
            return float(out[0])

        return row

    def _agrees(self, fast: Callable[[Floats], float], check: tuple[Floats, Floats] | None) -> bool:
        X = np.zeros((1, self._booster.num_feature())) if check is None else np.ascontiguousarray(check[0])
        try:
            return np.array_equal([fast(x) for x in X], self.matrix(X))
        except OSError:
            return False


class LinearScorer:
    """b + sum over columns of a weight times the (imputed) number, or of a category's own weight; through the logistic
    or not.
    """

    form = "linear"

    def __init__(
        self,
        bias: float,
        weights: Floats,
        fill: Floats,
        tables: list[tuple[int, Floats]],
        logistic: bool,
        plain: _Plain,
    ) -> None:
        self._bias, self._weights, self._fill, self._tables, self._logistic, self._plain = (
            bias,
            weights,
            fill,
            tables,
            logistic,
            plain,
        )

    @classmethod
    def of(
        cls, fitted: Any, *, probability: bool, check: tuple[Floats, Floats] | None, else_: _Plain
    ) -> LinearScorer | None:
        """The compiled pipeline; None when it is not such a pipeline, or says anything else than `else_` on the check
        rows (1e-12).
        """
        if check is None or len(check[0]) == 0:
            return None
        try:
            made = _compile(fitted, probability, check[0].shape[1], else_)
        except _Unknown:
            return None
        if made is None:
            return None
        X = np.ascontiguousarray(check[0])
        truth = else_.matrix(X)
        ours = np.array([made.row(x) for x in X])
        return made if np.all(np.abs(ours - truth) <= _EQUAL * np.maximum(1.0, np.abs(truth))) else None

    def matrix(self, X: Any) -> Floats:
        return self._plain.matrix(X)

    def row(self, x: Floats) -> float:
        total = self._bias + float(np.where(np.isnan(x), self._fill, x) @ self._weights)
        for i, table in self._tables:
            code = x[i]
            if code != code:
                total += table[-1]
            else:
                total += table[int(code)] if 0 <= code < len(table) - 1 else 0.0
        if not self._logistic:
            return float(total)
        return 1.0 / (1.0 + math.exp(-total)) if total >= 0 else math.exp(total) / (1.0 + math.exp(total))


class _Unknown(Exception):
    """A step that is not known to be affine."""


class _Column:
    """What has become of one input column so far: `scale` * imputed + `shift`, or the codes of an encoder."""

    def __init__(self, index: int) -> None:
        self.index, self.scale, self.shift, self.fill = index, 1.0, 0.0, math.nan
        self.category: float | None = None
        self.encoded = False


def _compile(fitted: Any, probability: bool, width: int, plain: _Plain) -> LinearScorer | None:
    steps = [step for _, step in fitted.steps] if type(fitted).__name__ == "Pipeline" else [fitted]
    columns = [_Column(i) for i in range(width)]
    for step in steps[:-1]:
        columns = _through(step, columns)
    last, name = steps[-1], type(steps[-1]).__name__
    logistic = name == "LogisticRegression"
    if logistic and not (probability and answers.plain(last.classes_)):
        return None
    if not logistic and name not in (
        "LinearRegression",
        "Ridge",
        "Lasso",
        "ElasticNet",
        "LinearSVR",
        "SGDRegressor",
        "BayesianRidge",
        "HuberRegressor",
    ):
        return None
    coefficients = np.asarray(last.coef_, dtype=np.float64).reshape(-1)
    if len(coefficients) != len(columns):
        return None
    bias, weights, fill = float(np.asarray(last.intercept_).reshape(-1)[0]), np.zeros(width), np.zeros(width)
    seen: dict[int, float] = {}
    tables: dict[int, dict[float, float]] = {}
    for column, weight in zip(columns, coefficients, strict=True):
        if column.encoded:
            codes = tables.setdefault(column.index, {})
            code = math.nan if column.category is None else column.category
            key = -1.0 if code != code else code
            codes[key] = codes.get(key, 0.0) + float(weight) * column.scale
            bias += float(weight) * column.shift
            continue
        if seen.setdefault(column.index, column.fill) != column.fill and not (
            column.fill != column.fill and seen[column.index] != seen[column.index]
        ):
            return None  # one column imputed in two ways
        weights[column.index] += weight * column.scale
        fill[column.index] = column.fill
        bias += float(weight) * column.shift
    return LinearScorer(
        bias,
        weights,
        np.where((weights == 0) & np.isnan(fill), 0.0, fill),
        [(i, _table(codes)) for i, codes in tables.items()],
        logistic,
        plain,
    )


def _table(codes: dict[float, float]) -> Floats:
    if any(code != -1.0 and (code < 0 or code != int(code) or code > 1e6) for code in codes):
        raise _Unknown
    table = np.zeros(int(max([*codes, -1.0])) + 2)
    for code, weight in codes.items():
        table[int(code)] = weight  # -1, the NaN, is the last place
    return table


def _through(step: Any, columns: list[_Column]) -> list[_Column]:
    name = type(step).__name__
    if name == "str" and step == "passthrough":
        return columns
    if name == "Pipeline":
        for _, inner in step.steps:
            columns = _through(inner, columns)
        return columns
    if name == "ColumnTransformer":
        return _parallel(step, columns)
    if name == "OneHotEncoder":
        return _one_hot(step, columns)
    if name == "SimpleImputer":
        return _imputed(step, columns)
    if name in ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"):
        return _scaled(step, name, columns)
    raise _Unknown(name)


def _parallel(step: Any, columns: list[_Column]) -> list[_Column]:
    out: list[_Column] = []
    for _, inner, chosen in step.transformers_:
        if isinstance(inner, str) and inner == "drop":
            continue
        if not isinstance(chosen, list) or not all(isinstance(i, int | np.integer) for i in chosen):
            raise _Unknown("columns not chosen by number")
        taken = [_copied(columns[i]) for i in chosen]
        out += (
            taken
            if isinstance(inner, str) or (type(inner).__name__ == "FunctionTransformer" and inner.func is None)
            else _through(inner, taken)
        )
    if step.transformer_weights:
        raise _Unknown("weights")
    return out


def _one_hot(step: Any, columns: list[_Column]) -> list[_Column]:
    if step.drop_idx_ is not None or getattr(step, "_infrequent_enabled", True) or step.handle_unknown != "ignore":
        raise _Unknown("one-hot")
    out = []
    for column, categories in zip(columns, step.categories_, strict=True):
        if column.encoded or (column.scale, column.shift) != (1.0, 0.0) or column.fill == column.fill:
            raise _Unknown("encoded what was changed before")
        for category in categories:
            made = _copied(column)
            made.encoded, made.category = True, float(category)
            out.append(made)
    return out


def _imputed(step: Any, columns: list[_Column]) -> list[_Column]:
    if step.add_indicator or not (isinstance(step.missing_values, float) and math.isnan(step.missing_values)):
        raise _Unknown("imputer")
    statistics = np.asarray(step.statistics_, dtype=np.float64)
    if np.isnan(statistics).any():
        raise _Unknown("a column without any value is dropped")
    for column, statistic in zip(columns, statistics, strict=True):
        if column.encoded:
            continue
        if column.fill != column.fill:
            column.fill = float((statistic - column.shift) / column.scale) if column.scale else 0.0
    return columns


def _scaled(step: Any, name: str, columns: list[_Column]) -> list[_Column]:
    n = len(columns)
    if name == "MinMaxScaler":
        if step.clip:
            raise _Unknown("clip")
        factor, offset = np.asarray(step.scale_), np.asarray(step.min_)
    else:
        centre = {"StandardScaler": "mean_", "RobustScaler": "center_"}.get(name)
        middle = getattr(step, centre, None) if centre else None
        divisor = step.scale_ if step.scale_ is not None else np.ones(n)
        factor = 1.0 / np.asarray(divisor, dtype=np.float64)
        offset = -np.asarray(middle if middle is not None else np.zeros(n), dtype=np.float64) * factor
    for column, f, o in zip(columns, factor, offset, strict=True):
        column.scale, column.shift = column.scale * float(f), column.shift * float(f) + float(o)
    return columns


def _copied(column: _Column) -> _Column:
    made = _Column(column.index)
    made.__dict__.update(column.__dict__)
    return made
