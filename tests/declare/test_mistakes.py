"""The mistakes that people make most, each in a small project of its own: place, sentence, what was found, the fix, the
code; all of a load together.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.base.errors import DefinitionError, DefinitionErrors
from millstream.declare.load import load
from millstream.declare.pages import PAGES

STREAMS = """\
import millstream as ms


class Asked(ms.Event):
    flight_id: str
    carrier: str
    number: int
    ts: ms.EventTime


class Landed(ms.Event):
    flight_id: str
    carrier: str
    delay: float
    ts: ms.EventTime


asked = ms.stream("asked", Asked, key="flight_id")
landed = ms.stream("landed", Landed, key="flight_id")
late = ms.outcome(landed, on="flight_id", value="delay > $limit", within="1d")
"""
MODELS = """\
import millstream as ms
from millstream import agg, assign, expect
from streams import asked, late, landed

seen = ms.features("seen", landed, key="carrier", windows=["3h"], aggregates={"delay": agg.mean("delay")})
rows = ms.training_set("rows", at=asked, label=late, features=[asked.fields("number"), seen],
                       until="2020-01-01", split=ms.by_time(test="1d"))


@ms.model(rows, metrics=["auc"], promote_if="auc >= champion.auc")
def trees(train: ms.Train, *, leaves: int = 3) -> object:
    return None


@ms.model(rows)
def linear(train: ms.Train) -> object:
    return None


both = {"a": trees["champion"], "b": linear["champion"]}
"""

UNLEARNT = MODELS.partition("@ms.model")[0]
"""No model asks the label to be a number, nor a metric to fit it."""
OVER = """\
import millstream as ms
from millstream import agg

t = ms.table("t")
f = ms.features("f", t, key="carrier", windows=["3h"], aggregates={"n": agg.count()})
"""


def project(folder: Path, **files: str) -> Path:
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    (folder / "millstream.toml").write_text('[project]\nname = "p"\n[params]\nlimit = 15\n')
    for name, text in {"streams": STREAMS, "zmodels": MODELS, **files}.items():
        path = folder / name.replace("__", "/", 1) if "." in name else folder / f"{name}.py"
        path.write_text(text)
    return folder


def mistakes(folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> list[DefinitionError]:
    monkeypatch.chdir(project(folder, **files))
    with pytest.raises(DefinitionErrors) as caught:
        load(".")
    return list(caught.value.errors)


def only(folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> DefinitionError:
    found = mistakes(folder, monkeypatch, files)
    assert len(found) == 1, "\n".join(map(str, found))
    assert found[0].code in PAGES
    return found[0]


def line(text: str, part: str) -> int:
    return next(i for i, row in enumerate(text.splitlines(), 1) if part in row)


def test_a_right_project_loads(tmp_path: Path) -> None:
    made = load(project(tmp_path))
    assert set(made.by_name) == {"asked", "landed", "seen", "rows", "trees", "linear"}


def test_no_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = MODELS.replace(
        'aggregates={"delay": agg.mean("delay")}', 'aggregates={\n    "late": agg.mean("dealy > $limit")}'
    )
    error = only(tmp_path, monkeypatch, {"zmodels": text})
    assert (
        str(error) == 'zmodels.py:6  features "seen", late: no field "dealy"\n'
        '  found  "dealy > $limit" over carrier, delay, flight_id, ts\n  fix    did you mean "delay"?    E111'
    )


def test_words_of_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = only(
        tmp_path,
        monkeypatch,
        {"streams": STREAMS.replace("    delay: float\n    ts: ms.", "    delay: float\n    at: ms.")},
    )
    assert (
        str(error) == 'streams.py:11  stream "landed": the field "at" of Landed is a word of SQL\n'
        "  found  select at from landed  does not parse in DuckDB\n  fix    rename it, e.g. ts    E112"
    )


def test_event_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = only(
        tmp_path,
        monkeypatch,
        {
            "streams": (
                STREAMS + '\n\nclass Plain(ms.Event):\n    a: int\n\n\nplain = ms.stream("plain", Plain, key="a")\n'
            )
        },
    )
    assert (error.code, error.found) == ("E120", "none")
    assert error.message == 'stream "plain": Plain needs exactly one field of type ms.EventTime'


def test_an_id_with_a_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old writers lack the field: all their records would be one, and the others duplicates."""
    text = (
        '\n\nclass Sold(ms.Event):\n    ref: str{}\n    ts: ms.EventTime\n\n\nsold = ms.stream("sold", Sold, key="ref",'
        ' dedupe="ref")\n'
    )
    error = only(tmp_path, monkeypatch, {"streams": STREAMS + text.format(' = "none"')})
    assert (error.code, error.found) == ("E125", "'none'")
    load(project(tmp_path, streams=STREAMS + text.format(" | None = None")))


def test_missing_key_of_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = only(
        tmp_path, monkeypatch, {"streams": STREAMS.replace("carrier: str\n    number", "airline: str\n    number")}
    )
    assert error.code == "E141"
    assert error.message == 'training_set "rows": features "seen" are keyed by "carrier", and "asked" has no "carrier"'
    assert error.found == "airline, flight_id, number, ts"
    assert error.fix == 'say seen.on("...") with the field of asked that holds a carrier'


def test_label_from_the_spine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = STREAMS.replace(
        'ms.outcome(landed, on="flight_id", value="delay > $limit"',
        'ms.outcome(asked, on="flight_id", value="number > 1"',
    )
    error = only(tmp_path, monkeypatch, {"streams": text})
    assert error.code == "E142" and error.found == "outcome(asked, ...) and at=asked"


@pytest.mark.parametrize(
    ("value", "otherwise", "found", "fix"),
    [
        (
            '"false"',
            '"yes"',
            "otherwise='yes' beside a value of type bool",
            "write otherwise=False or otherwise=True, or leave it out: rows without an event then have no label",
        ),
        (
            '"delay > 1"',
            '"absent"',
            "otherwise='absent' beside a value of type bool",
            "write otherwise=False or otherwise=True, or leave it out: rows without an event then have no label",
        ),
        (
            '"delay > 1"',
            "0",
            "otherwise=0 beside a value of type bool",
            "write otherwise=False or otherwise=True, or leave it out: rows without an event then have no label",
        ),
        (
            '"delay"',
            "False",
            "otherwise=False beside a value of type float64",
            "write a number, e.g. otherwise=0.0, or leave it out: rows without an event then have no label",
        ),
        (
            "ms.agg.count()",
            "0.5",
            "otherwise=0.5 beside a value of type int64",
            "write a whole number, e.g. otherwise=0, or leave it out: rows without an event then have no label",
        ),
        (
            'ms.agg.mean("delay > 1")',
            '"no"',
            "otherwise='no' beside a value of type float64",
            "write a number, e.g. otherwise=0.0, or leave it out: rows without an event then have no label",
        ),
        (
            '"carrier"',
            "0",
            "otherwise=0 beside a value of type string",
            'write a text, e.g. otherwise="none", or leave it out: rows without an event then have no label',
        ),
        (
            '"ts"',
            '"2026-01-01"',
            "otherwise='2026-01-01' beside a value of type timestamp",
            "leave it out: rows without an event then have no label",
        ),
    ],
)
def test_what_no_event_means_is_of_the_type_of_what_one_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, otherwise: str, found: str, fix: str
) -> None:
    text = STREAMS.replace('value="delay > $limit", within="1d"', f'value={value}, within="1d", otherwise={otherwise}')
    error = only(tmp_path, monkeypatch, {"streams": text, "zmodels": UNLEARNT})
    assert (error.code, error.message, error.found, error.fix) == (
        "E126",
        'the outcome of "landed": otherwise is of another type than its value',
        found,
        fix,
    )
    assert str(error).startswith("streams.py:20  ")


@pytest.mark.parametrize(
    ("value", "otherwise"),
    [
        ('"false"', "True"),
        ('"delay"', "0"),
        ('"delay"', "0.5"),
        ("ms.agg.count()", "0"),
        ('ms.agg.sum("delay")', "1"),
        ('ms.agg.sum("delay > 1")', "0"),
        ('"carrier"', '""'),
        ('"carrier"', "None"),
        ('ms.agg.max("carrier")', '"none"'),
    ],
)
def test_what_no_event_means(tmp_path: Path, value: str, otherwise: str) -> None:
    text = STREAMS.replace('value="delay > $limit", within="1d"', f'value={value}, within="1d", otherwise={otherwise}')
    load(project(tmp_path, streams=text, zmodels=UNLEARNT))


def test_an_outcome_adds_up_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = only(
        tmp_path, monkeypatch, {"streams": STREAMS.replace('value="delay > $limit"', 'value=ms.agg.mean("carrier")')}
    )
    assert (error.code, error.message, error.found) == (
        "E114",
        'the outcome of "landed": mean needs a number',
        "carrier is string",
    )


def test_sql_reads_what_nothing_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = only(tmp_path, monkeypatch, {"tables__days.sql": "-- @time ts\nselect ts, delay\nfrom landd\n"})
    assert (
        str(error)
        == 'tables/days.sql:3  table "days" reads "landd", which nothing declares\n  found  landd\n  fix    did you'
        ' mean "landed"?    E103'
    )


LIVE = """\
import millstream as ms
from millstream import assign, expect
from streams import late
from zmodels import both, trees

ab = ms.experiment("ab", arms=both, unit="flight_id", assign=assign.ab(0.5, 0.5), layer="l", traffic=(0.0, 0.5),
                   reward=late.score("1 - power(prediction - outcome, 2)"))
bandit = ms.experiment("bandit", arms=both, unit="flight_id", assign=assign.thompson(), reward=late, layer="l",
                       traffic=(0.5, 1.0))
point = ms.endpoint("point", [ab, bandit], default=trees["champion"])
ms.monitor(point, expect.skew())
"""


def test_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = only(tmp_path, monkeypatch, {"zzlive": LIVE.replace("(0.5, 1.0)", "(0.4, 1.0)")})
    assert (
        str(error)
        == 'zzlive.py:10  endpoint "point": "ab" (zzlive.py:6) and "bandit" (zzlive.py:8) overlap in layer "l"\n  found'
        "  traffic (0.0, 0.5) and (0.4, 1.0)\n  fix    make the ranges disjoint, e.g. (0.0, 0.5) and (0.5, 1.0)   "
        " E171"
    )


def test_check_that_cannot_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = only(tmp_path, monkeypatch, {"zzlive": LIVE.replace("expect.skew()", 'expect.fresh("1h")')})
    assert (error.code, error.message) == ("E180", 'monitor on endpoint "point": fresh cannot watch an endpoint')
    assert error.fix == "fresh watches features, stream or table"


def test_a_name_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = LIVE.replace('ms.endpoint("point"', 'ms.endpoint("trees"')
    error = next(e for e in mistakes(tmp_path, monkeypatch, {"zzlive": text}) if e.code == "E102")
    assert (
        error.message == 'the name "trees" is taken'
        and error.found == f"model at zmodels.py:{line(MODELS, '@ms.model(rows, m')}"
    )


def test_circle_of_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = only(
        tmp_path,
        monkeypatch,
        {
            "streams": STREAMS.replace(
                "import millstream as ms\n", "import millstream as ms\nfrom zmodels import rows\n", 1
            )
        },
    )
    assert error.code == "E105"
    assert error.found == "streams.py:2 -> zmodels.py:3 -> streams.py"


@pytest.mark.parametrize(
    ("code", "files"),
    [
        ("E101", {"streams": STREAMS.replace('"landed", Landed', '"Landed", Landed')}),
        ("E104", {"tables__a.sql": "select * from b", "tables__b.sql": "select * from a"}),
        ("E106", {"queue": "import millstream as ms\n"}),
        ("E107", {"zzlive": "def broken(:\n"}),
        ("E108", {"zzlive": "import no_such_module_of_any_kind\n"}),
        ("E108", {"zzlive": "1 / 0\n"}),
        ("E109", {"millstream.toml": "[project]\nname = 'p'\n[prams]\nlimit = 15\n[params]\nlimit = 15\n"}),
        ("E110", {"streams": STREAMS.replace('within="1d"', 'within="a day"')}),
        (
            "E110",
            {
                "streams": STREAMS.replace(
                    'ms.stream("landed", Landed, key="flight_id"',
                    'ms.stream("landed", Landed, key="flight_id", ahead="-1d"',
                )
            },
        ),
        ("E113", {"zmodels": MODELS.replace('key="carrier", w', 'key="carrier", where="delay + 1", w')}),
        ("E114", {"zmodels": MODELS.replace('agg.mean("delay")', 'agg.mean("carrier")')}),
        ("E116", {"zmodels": MODELS.replace('agg.mean("delay")', 'agg.mean("delay >")')}),
        ("E117", {"zmodels": MODELS.replace('agg.mean("delay")', 'agg.mean("median(delay)")')}),
        ("E111", {"streams": STREAMS.replace('Landed, key="flight_id"', 'Landed, key="flight"')}),
        ("E130", {"tables__a.sql": "-- @tim ts\nselect 1 as x"}),
        ("E131", {"tables__a.sql": "-- @incremental 1d\nselect ts from landed"}),
        ("E132", {"tables__a.sql": "select from where"}),
        (
            "E134",
            {
                "zzlive": 'import millstream as ms\na = ms.table("a", time="ts")\n',
                "tables__a.sql": "-- @time ts\nselect ts from landed",
            },
        ),
        ("E134", {"zzlive": 'import millstream as ms\na = ms.table("a")\n'}),
        ("E135", {"tables__a.sql": "select $limt as x from landed"}),
        ("E136", {"tables__a.sql": "-- @key x\nselect delay from landed"}),
        (
            "E137",
            {
                "zzlive": (
                    'import millstream as ms\nfrom millstream import agg\nf = ms.features("f", ms.decisions("point"),'
                    ' key="arm", aggregates={"n": agg.count()})\n'
                )
            },
        ),
        (
            "E143",
            {
                "zzlive": (
                    'import millstream as ms\nfrom millstream import agg\nt = ms.table("t", "select carrier, delay from'
                    ' landed")\nf = ms.features("f", t, key="carrier", aggregates={"n": agg.count()})\n'
                )
            },
        ),
        ("E152", {"tables__t.sql": "-- @time ts\nselect carrier, ts, delay from landed", "zzlive": OVER}),
        (
            "E152",
            {
                "tables__t.sql": (
                    "-- @time ts\n-- @schedule @daily\nselect carrier, max(ts) as ts from landed group by carrier"
                ),
                "zzlive": OVER,
            },
        ),
        ("E153", {"tables__t.sql": "-- @time ts\n-- @lag 4h\nselect carrier, ts, delay from landed", "zzlive": OVER}),
        ("E110", {"tables__t.sql": "-- @time ts\n-- @lag soon\nselect carrier, ts, delay from landed"}),
        ("E110", {"tables__t.sql": "-- @time ts\n-- @lag -2h\nselect carrier, ts, delay from landed"}),
        (
            "E134",
            {
                "tables__t.sql": "-- @time ts\n-- @lag 2h\nselect carrier, ts from landed",
                "zzlive": 'import millstream as ms\nt = ms.table("t", lag="0s")\n',
            },
        ),
        ("E144", {"zmodels": MODELS.replace('windows=["3h"]', 'windows=["3h", "61m"]')}),
        ("E146", {"streams": STREAMS.replace("carrier: str\n    number", "carrier: int\n    number")}),
        ("E149", {"zmodels": MODELS.replace('features=[asked.fields("number"), seen]', "features=[seen, seen]")}),
        ("E150", {"zmodels": MODELS.replace("auc >= champion.auc", "auk >= champion.auc")}),
        ("E150", {"zmodels": MODELS.replace('metrics=["auc"]', 'metrics=["gini"]')}),
        ("E151", {"zmodels": MODELS.replace("leaves: int = 3", "leaves: int")}),
        ("E160", {"zzlive": LIVE.replace("assign.ab(0.5, 0.5)", "assign.ab(0.5, 0.4)")}),
        ("E161", {"zzlive": LIVE.replace('unit="flight_id", assign=assign.ab', 'unit="user", assign=assign.ab')}),
        ("E162", {"zzlive": LIVE.replace("(0.5, 1.0)", "(0.5, 1.5)")}),
        (
            "E164",
            {
                "zzlive": (
                    LIVE.replace("import both, trees", "import both, seen, trees").replace(
                        "traffic=(0.5, 1.0)", 'traffic=(0.5, 1.0), adjust=seen["delay_3h"]'
                    )
                )
            },
        ),
        ("E111", {"zzlive": LIVE.replace("prediction - outcome", "predicted - outcome")}),
        ("E172", {"zzlive": LIVE.replace('reward=late, layer="l"', 'reward=late, layer="m"')}),
        (
            "E173",
            {
                "zzlive": (
                    "import millstream as ms\nfrom streams import late\nfrom millstream import assign\ne ="
                    ' ms.experiment("e", arms={"a": 1, "b": 2}, unit="x", assign=assign.ab(), reward=late)\np ='
                    ' ms.endpoint("p", e, request=None)\n'
                )
            },
        ),
        ("E181", {"zzlive": LIVE.replace("expect.skew()", 'expect.performance(late, "true")')}),
    ],
)
def test_the_other_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, files: dict[str, str]) -> None:
    error = only(tmp_path, monkeypatch, files)
    assert error.code == code and error.place is not None and error.found and error.fix


def models(value: str, first: str, second: str = "") -> dict[str, str]:
    """A project whose label is this."""
    told = MODELS.replace('rows, metrics=["auc"], promote_if="auc >= champion.auc"', f"rows, {first}").replace(
        "ms.model(rows)", f"ms.model(rows, {second})"
    )
    return {"streams": STREAMS.replace('"delay > $limit"', value), "zmodels": told}


@pytest.mark.parametrize(
    ("value", "first", "found", "fix"),
    [
        ('"carrier"', "", 'value="carrier" of landed (streams.py:{at})', "compare it, e.g. value=\"carrier = 'x'\""),
        (
            'ms.agg.first("carrier")',
            "",
            "value=agg.first('carrier') of landed (streams.py:{at})",
            "compare it, e.g. value=\"carrier = 'x'\"",
        ),
        (
            '"ts"',
            "",
            'value="ts" of landed (streams.py:{at})',
            'say a number or a comparison, e.g. value="ts is not null"',
        ),
    ],
)
def test_a_label_is_a_boolean_or_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, first: str, found: str, fix: str
) -> None:
    files = models(value, first)
    told = mistakes(tmp_path, monkeypatch, files)
    assert [e.code for e in told] == ["E154", "E154"] and "E154" in PAGES
    assert told[0].message.startswith('model "trees": its label "label" is ') and told[0].message.endswith(
        ", and a model learns a boolean or a number"
    )
    assert str(told[0].place) == f"zmodels.py:{line(files['zmodels'], '@ms.model(rows')}"
    assert (told[0].found, told[0].fix) == (found.format(at=line(files["streams"], "late = ms.outcome")), fix)


@pytest.mark.parametrize(
    ("value", "given", "metric", "kind"),
    [
        ('"delay"', 'metrics=["rmse", "auc"]', "auc", "a number"),
        ('"delay"', 'metrics=["accuracy"]', "accuracy", "a number"),
        ("ms.agg.count()", 'metrics=["log_loss"]', "log_loss", "a whole number"),
        ('ms.agg.max("delay")', 'promote_if="brier < champion.brier"', "brier", "a number"),
    ],
)
def test_a_metric_is_of_the_kind_of_its_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, given: str, metric: str, kind: str
) -> None:
    error = mistakes(tmp_path, monkeypatch, models(value, given))[0]
    assert (
        error.code == "E155"
        and "E155" in PAGES
        and error.message.endswith(f'{metric}" is of a boolean, and the label "label" is {kind}')
    )
    assert (
        error.place is not None
        and error.place.file.endswith("zmodels.py")
        and error.fix.startswith('compare it, e.g. value="')
    )
    ways = (
        ' > x"; or, if it is 0 and 1, write output="probability"; or a metric of numbers: accuracy, rmse, mae, r2'
        if kind == "a whole number"
        else ' > x"; or a metric of numbers: rmse, mae, r2'
    )
    assert error.fix.endswith(ways) and error.found.startswith(f"value={value.removeprefix('ms.')[:6]}")


def test_one_of_several_labels_is_enough_and_each_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = 'label={"late": late, "minutes": ms.outcome(landed, on="flight_id", value="delay", within="1d")}'
    files = {
        "zmodels": (
            MODELS.replace("label=late", two).replace(
                "auc >= champion.auc", "minutes.mae < champion.minutes.mae and late.auc > 0.5"
            )
        )
    }
    assert "trees" in load(project(tmp_path / "right", **files)).by_name
    error = only(tmp_path / "wrong", monkeypatch, {"zmodels": files["zmodels"].replace("late.auc", "minutes.auc")})
    assert (
        error.code == "E155"
        and error.message == 'model "trees": "minutes.auc" is of a boolean, and the label "minutes" is a number'
    )


@pytest.mark.parametrize(
    ("value", "first"),
    [
        ('"delay"', 'metrics=["rmse", "mae", "r2"], promote_if="rmse <= champion.rmse"'),
        ('"delay > 3"', 'metrics=["auc", "brier", "log_loss", "accuracy", "rmse"]'),
        ('"case when delay > 3 then 1 else 0 end"', 'output="probability", metrics=["auc"]'),
        ("ms.agg.count()", 'metrics=["mae"]'),
        ('"case when delay > 3 then 1 else 0 end"', 'metrics=["accuracy"]'),
        ("ms.agg.count()", 'metrics=["accuracy"], promote_if="accuracy > champion.accuracy"'),
    ],
)
def test_what_fits_passes(tmp_path: Path, value: str, first: str) -> None:
    assert "trees" in load(project(tmp_path, **models(value, first))).by_name


@pytest.mark.parametrize(
    ("value", "expression", "code", "said"),
    [
        ("delay", "auc >= 0.6", "E155", '"auc" is of a boolean, and its outcome is a number'),
        ("carrier", "accuracy >= 0.6", "E154", "its outcome is text, and a metric compares a boolean or a number"),
        ("case when delay > 3 then 1 else 0 end", "accuracy >= 0.6", None, ""),
        (
            "case when delay > 3 then 1 else 0 end",
            "brier <= 0.6",
            "E155",
            '"brier" is of a boolean, and its outcome is a whole number',
        ),
        ("delay", "rmse <= 10", None, ""),
        ("delay > 3", "auc >= 0.6", None, ""),
    ],
)
def test_performance_compares_what_can_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, expression: str, code: str | None, said: str
) -> None:
    text = (
        'import millstream as ms\nfrom streams import landed\nfrom zmodels import trees\npoint = ms.endpoint("point",'
        f' trees["champion"])\nwhat = ms.outcome(landed, on="flight_id", value="{value}",'
        f' within="1d")\nms.monitor(point, ms.expect.performance(what, "{expression}"))\n'
    )
    if code is None:
        load(project(tmp_path, zzlive=text))
        return
    error = only(tmp_path, monkeypatch, {"zzlive": text})
    assert error.code == code and error.message == f'expect.performance of endpoint "point": {said}'
    assert str(error.place) == "zzlive.py:6" and "zzlive.py:5" in error.found and f'value="{value} ' in error.fix


def test_all_mistakes_of_a_load_are_told_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "zmodels": MODELS.replace('agg.mean("delay")', 'agg.mean("dealy")'),
        "tables__a.sql": "select x from landd",
        "zzlive": "1 / 0\n",
        "streams": STREAMS.replace('Landed, key="flight_id"', 'Landed, key="flight"'),
    }
    found = mistakes(tmp_path, monkeypatch, files)
    # With a module missing, a missing name is not a mistake of the SQL
    assert [e.code for e in found] == ["E111", "E111", "E108"]
    assert "E103" in [e.code for e in mistakes(tmp_path, monkeypatch, {**files, "zzlive": ""})]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"zmodels": MODELS.replace("agg.mean", "agg.avg")},
            ['zmodels.py:5  agg has no "avg"|agg.avg|did you mean "mean"?'],
        ),
        (
            {"zmodels": MODELS.replace("agg.mean", "agg.quantile")},
            [
                'zmodels.py:5  agg has no "quantile"|agg.quantile|there are count, first, last, max, mean, min, sum,'
                " variance"
            ],
        ),
        (
            {"zmodels": MODELS.replace("ms.training_set(", "ms.trainingset(")},
            ['zmodels.py:6  ms has no "trainingset"|ms.trainingset|did you mean "training_set"?'],
        ),
        (
            {"zzlive": 'import millstream as ms\nfrom streams import asked\nms.source(asked, ms.read.file("/x"))\n'},
            ['zzlive.py:3  read has no "file"|read.file|did you mean "files"?', "zzlive.py:3  ms.read.files: glob"],
        ),
        (
            {"zmodels": MODELS.replace("from streams", "from stream")},
            ['zmodels.py:3  the module "stream" is not there|import stream|did you mean "streams"?'],
        ),
        (
            {
                "zmodels": (
                    MODELS.replace("import asked, late, landed", "import asked, late, landd as landed").replace(
                        'mean("delay")', 'mean("dealy")'
                    )
                )
            },
            [
                'zmodels.py:3  the module "streams" has no "landd"|streams.landd|did you mean "landed"?',
                'zmodels.py:5  features "seen", delay: no field "dealy"',
            ],
        ),
        (
            {"zzlive": "from streams import late\n\nprint(lat)\n"},
            ["zzlive.py:3  the module ends with an error|NameError: name 'lat' is not defined|did you mean \"late\"?"],
        ),
        (
            {"zzlive": "1 / 0\n"},
            [
                "zzlive.py:1  the module ends with an error|ZeroDivisionError: division by zero|"
                "run it by itself, in the project's folder, to see more: python -c 'import zzlive'"
            ],
        ),
    ],
)
def test_a_name_that_is_not_there_stops_nothing_and_is_told_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], said: list[str]
) -> None:
    found = mistakes(tmp_path, monkeypatch, files)
    told = ["|".join((f"{e.place}  {e.message}", e.found, e.fix)) for e in found]
    assert len(told) == len(said) and all(whole.startswith(part) for whole, part in zip(told, said, strict=True)), told


def test_without_a_load_a_name_that_is_not_there_is_pythons_own_error() -> None:
    import millstream as ms

    with pytest.raises(AttributeError, match="agg has no 'avg'; did you mean 'mean'"):
        _ = ms.agg.avg  # type: ignore[attr-defined]
    assert not hasattr(ms.read, "file") and not hasattr(ms, "strem")


TRIED = """\
import contextlib

import millstream as ms
import streams
from millstream import agg

assert not hasattr(ms, "strem") and not hasattr(streams, "landd")
assert getattr(ms, "strem", None) is None and getattr(agg, "avg", 3) == 3
try:
    made = ms.strem
except AttributeError:
    made = None
try:
    from streams import landd
except ImportError as error:
    landd = "landd" in str(error)
try:
    made = [agg.avg for _ in range(1)]
except (KeyError, Exception):
    made = None
with contextlib.suppress(AttributeError):
    made = ms.strem.more


def newest():
    return ms.strem or ms.stream


try:
    made = newest()
except AttributeError:
    made = None
assert made is None and landd is True
"""


def test_a_name_that_is_only_tried_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`hasattr` was True while a project was loading, and its answer counted as a mistake."""
    monkeypatch.chdir(project(tmp_path, streams=STREAMS, zzlive=TRIED))
    assert set(load(".").streams) == {"asked", "landed"}


@pytest.mark.parametrize(
    "used",
    [
        "made = ms.strem",
        "try:\n    ms.strem\nexcept KeyError:\n    pass",
        "try:\n    raise AttributeError\nexcept AttributeError:\n    ms.strem",
        "try:\n    pass\nexcept AttributeError:\n    pass\nelse:\n    ms.strem",
        "try:\n    ms.strem\nfinally:\n    pass",
        "def f():\n    return ms.strem\n\n\ntry:\n    g = f\nexcept AttributeError:\n    pass\ng()",
        "try:\n    def f():\n        return ms.strem\nexcept AttributeError:\n    pass\nf()",
        "class A:\n    made = ms.strem",
    ],
)
def test_a_name_that_is_used_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: str) -> None:
    found = mistakes(tmp_path, monkeypatch, {"zzlive": f"import millstream as ms\n\n{used}\n"})
    line = 3 + used.split("ms.strem")[0].count("\n")
    assert [(str(e.place), e.message, e.fix) for e in found] == [
        (f"zzlive.py:{line}", 'ms has no "strem"', 'did you mean "stream"?')
    ]


@pytest.mark.parametrize(
    ("text", "code", "script"),
    [
        ("import no_such_module_of_any_kind\n", "E108", True),
        ("open('data/none.csv')\n", "E108", True),
        ("import sys\nsys.exit(3)\n", "E108", True),
        ("!pip install x\n", "E107", True),
        ("import millstream as ms\nimport sys\nsys.exit(3)\n", "E108", True),
        ("import millstream as ms\n1 / 0\n", "E108", False),
        ("import millstream as ms\nx = = 1\n", "E107", False),
    ],
)
def test_a_script_beside_the_modules_is_told_where_scripts_belong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: str, script: bool
) -> None:
    error = only(tmp_path, monkeypatch, {"zzclean": text})
    assert (
        error.code == code
        and ("scripts/, if it is a script: each .py file beside millstream.toml is imported by every verb" in error.fix)
        == script
    )


def test_a_misspelt_import_is_one_mistake_where_the_right_name_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two were told: the import, and the name that it would have brought, for which the misspelt one was proposed."""
    files = {
        "zzone": "NUMBER = 1\n",
        "zztwo": "import millstream as ms\nfrom zzone import NUMBR\n\nother = NUMBER + 1\n",
    }
    found = only(tmp_path, monkeypatch, files)
    assert (str(found.place), found.code, found.fix) == ("zztwo.py:2", "E196", 'did you mean "NUMBER"?')


def test_a_table_without_a_body_is_told_of_the_file_that_it_may_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "tables__carrier_days.sql": "select flight_id from landed\n",
        "zztables": 'import millstream as ms\n\ndays = ms.table("carrier_day")\n',
    }
    found = only(tmp_path, monkeypatch, files)
    assert (found.code, found.found) == ("E134", "no tables/carrier_day.sql") and found.fix.startswith(
        'call it "carrier_days", if it is tables/carrier_days.sql; else write'
    )


def test_what_is_said_twice_is_not_judged_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "tables__carrier_days.sql": "-- @key flight_id\nselect flight_id from landed\n",
        "zztables": 'import millstream as ms\n\ndays = ms.table("carrier_days", key="flight")\n',
    }
    assert only(tmp_path, monkeypatch, files).message == 'table "carrier_days": key is said twice'


def test_sql_that_does_not_parse_is_told_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = only(
        tmp_path, monkeypatch, {"tables__a.sql": "-- one\nselect flight_id,\n  (count(*) as n\nfrom departures\n"}
    )
    assert (str(found.place), found.found) == ("tables/a.sql:4:1", "-- one select flight_id, (count(*) as n from")


@pytest.mark.parametrize(
    "opened",
    [
        'Workspace.open(".")',
        'ms.load(".")',
        'Lab.of(Path("x.py").resolve(), Path("lab"))',
        'cli.main(["check"], standalone_mode=False)',
    ],
)
def test_a_module_that_opens_the_project_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: str
) -> None:
    """It was loaded by that again, and again, until Python gave up in the middle of something else."""
    imports = (
        "from pathlib import Path\nimport millstream as ms\nfrom millstream.app.cli.main import cli\nfrom"
        " millstream.lab.lab import Lab\nfrom millstream.run.workspace import Workspace\n"
    )
    found = mistakes(tmp_path, monkeypatch, {"zzlive": f"{imports}\n\nopened = {opened}\n"})
    (error,) = found
    assert (str(error.place), error.found, error.code) == (
        "zzlive.py:8",
        f"opened = {opened}",
        "E197",
    ) and 'if __name__ == "__main__":' in error.fix


OVER_DAILY = """\
import millstream as ms
from millstream import agg

daily = ms.table("daily")
spent = ms.features("spent", daily, key="carrier", windows=["7d"], aggregates={"d": agg.sum("delay")})
"""
DAILY = "-- @time day\n-- @key carrier\n-- @lag 1h\n"


@pytest.mark.parametrize(
    ("sql", "line", "name", "fix"),
    [
        ("select carrier, ts as day,\n  dealy from landed", 5, "dealy", 'did you mean "delay"?'),
        ("select carrier, ts as day, d.dealy\nfrom landed as d", 4, "dealy", 'did you mean "delay"?'),
        (
            "with a as (select carrier, ts, dlay from landed)\nselect carrier, ts as day, dlay from a",
            4,
            "dlay",
            'did you mean "delay"?',
        ),
    ],
)
def test_a_column_that_a_tables_sql_lacks_is_told_at_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str, line: int, name: str, fix: str
) -> None:
    """Without an engine too, as in `ms.load` and the lab; its features were blamed, and told to take the
    misspelt name.
    """
    error = only(
        tmp_path, monkeypatch, {"streams": STREAMS, "afeatures": OVER_DAILY, "tables__daily.sql": DAILY + sql + "\n"}
    )
    assert (str(error.place), error.code, error.found, error.fix) == (
        f"tables/daily.sql:{line}",
        "E138",
        f'there is no column "{name}"',
        fix,
    )


@pytest.mark.parametrize(
    "sql",
    [
        "select carrier, ts as day, total as late from (select *, delay as total from landed)",
        (
            "with a(carrier, day, late) as (select carrier, ts, delay from landed) select a.carrier, day, Late from a"
            " where Late > 3"
        ),
        (
            "select carrier, date_trunc('day', ts) as day, list_sum(list_transform([delay], x -> x + 1)) as late from"
            " landed group by all order by day"
        ),
        (
            "select l.carrier, l.ts as day, s.a.b as late from landed l, (select {'b': 1} as a) s where _arrived_at is"
            " not null"
        ),
        "select carrier, ts as day, u.n as late from landed, unnest([1]) as u(n)",
    ],
)
def test_names_that_a_query_makes_are_none_of_what_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    """The features ask for what is not there, and are told so; no table is blamed."""
    found = mistakes(
        tmp_path, monkeypatch, {"streams": STREAMS, "afeatures": OVER_DAILY, "tables__daily.sql": f"{DAILY}{sql}\n"}
    )
    assert [(error.code, error.place and error.place.file) for error in found] == [("E111", "afeatures.py")], sql


def unchecked(folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> tuple[str, ...]:
    monkeypatch.chdir(project(folder, **files))
    with pytest.raises(DefinitionErrors) as caught:
        load(".")
    last = str(caught.value).splitlines()[-1]
    assert bool(caught.value.unchecked) == ("not checked" in last) and all(
        name in last for name in caught.value.unchecked
    )
    return caught.value.unchecked


def test_what_was_not_checked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after = {"rows", "trees", "linear", "ab", "bandit", "point"}
    assert set(
        unchecked(tmp_path, monkeypatch, {"zmodels": MODELS.replace("agg.mean", "agg.quantile"), "zzlive": LIVE})
    ) == {"seen", *after}
    of_class = {
        "streams": STREAMS.replace("    delay: float\n    ts: ms.", "    delay: float\n    at: ms."),
        "zzlive": LIVE,
    }
    assert set(unchecked(tmp_path, monkeypatch, of_class)) == {"seen", *after}
    assert (
        set(
            unchecked(
                tmp_path,
                monkeypatch,
                {"streams": STREAMS, "zmodels": MODELS.replace("rows = ", "1 / 0\nrows = "), "zzlive": LIVE},
            )
        )
        == after
    )
    assert unchecked(
        tmp_path, monkeypatch, {"zmodels": MODELS, "zzlive": LIVE.replace("(0.5, 1.0)", "(0.5, 1.5)")}
    ) == ("point",)
    assert (
        unchecked(tmp_path, monkeypatch, {"zmodels": MODELS.replace('mean("delay")', 'mean("dealy")'), "zzlive": LIVE})
        == ()
    )


def test_the_number_of_what_was_not_checked_is_said() -> None:
    wrong = DefinitionError("x", fix="y")
    assert (
        str(DefinitionErrors([wrong, wrong], ["a"])).splitlines()[-1]
        == "2 mistakes; 1 definition was not checked, because it depends on what is wrong: a"
    )
    assert (
        str(DefinitionErrors([wrong], ["a", "b"])).splitlines()[-1]
        == "1 mistake; 2 definitions were not checked, because they depend on what is wrong: a, b"
    )


def test_a_shared_mistake_is_told_once_at_its_own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = STREAMS.replace('value="delay > $limit"', 'value="dealy > $limit"')
    error = only(tmp_path, monkeypatch, {"streams": text, "zzlive": LIVE})
    assert error.place is not None and error.place.line == line(text, "late = ms.outcome")


def test_every_page_says_what_to_do() -> None:
    for code, page in PAGES.items():
        assert page.startswith(f"{code}: ") and "Fix: " in page
