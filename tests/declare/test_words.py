"""What `check` once let through: wrong words, wrong classes, names of any length, texts over tables. Each is one mistake, at its own line, without its consequences."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_mistakes import LIVE, MODELS, STREAMS, line, mistakes, only, project

from millstream.base.errors import DefinitionErrors, Place
from millstream.declare.load import load

FILES = '\nms.source(landed, ms.read.files("d/*.csv", {}))\n'
TABLE = "import millstream as ms\nfrom millstream import agg, expect\nfrom streams import asked, landed, late\nfrom zmodels import seen\n"
DAYS = TABLE + 'days = ms.table("days", "select ts, carrier, flight_id, delay from landed", time="ts", lag="1h")\n'


def swap(text: str, old: str, new: str) -> str:
    assert old in text, old
    return text.replace(old, new)


def landed(more: str) -> dict[str, str]:
    return {"streams": swap(STREAMS, 'Landed, key="flight_id"', f'Landed, key="flight_id", {more}')}


@pytest.mark.parametrize(("files", "told"), [
    (landed('contract="backwards"'),
     'streams.py:19  stream "landed": contract is a word it does not know\n  found  contract = "backwards"\n  fix    did you mean "backward"? there are "none", "backward",'),
    ({"streams": STREAMS + FILES.format('format="txt"')}, 'ms.read.files: format is a word it does not know\n  found  format = "txt"\n  fix    there are "csv", "jsonl", "parquet", "avro"    E190'),
    ({"streams": STREAMS + FILES.format('compression="rar"')}, 'found  compression = "rar"\n  fix    there are "gzip", "zstd", "bz2"    E190'),
    ({"streams": swap(STREAMS, 'within="1d"', 'within="1d", credit="newest"')}, 'streams.py:20  ms.outcome: credit is a word it does not know\n  found  credit = "newest"'),
    ({"zmodels": swap(MODELS, 'metrics=["auc"]', 'input="frames"')}, 'zmodels.py:10  ms.model: input is a word it does not know\n  found  input = "frames"\n  fix    did you mean "frame"?'),
    ({"zmodels": swap(MODELS, 'metrics=["auc"]', 'output="proba"')}, 'found  output = "proba"\n  fix    did you mean "probability"?'),
    ({"zzlive": swap(LIVE, "expect.skew()", 'expect.skew(), severity="pager"')}, 'zzlive.py:11  ms.monitor: severity is a word it does not know\n  found  severity = "pager"\n  fix    did you mean "page"?'),
    ({"zmodels": swap(MODELS, '"a": trees["champion"]', '"a": trees["chmapion"]')}, 'zmodels.py:20  model "trees": version is a word it does not know\n  found  version = "chmapion"\n  fix    did you mean "champion"?'),
    (landed('dedupe=["flight_id"]'), "streams.py:19  stream \"landed\": dedupe wants a text\n  found  dedupe = ['flight_id']"),
    ({"streams": swap(STREAMS, 'Landed, key="flight_id"', 'Landed, keys="flight_id"')}, 'stream "landed": there is no argument "keys"\n  found  keys = "flight_id"\n  fix    did you mean "key"?    E194'),
    ({"zmodels": swap(MODELS, 'metrics=["auc"]', 'metrics="auc"')}, 'ms.model: metrics wants a list\n  found  metrics = "auc"\n  fix    write a list: ["auc"]'),
    ({"zmodels": swap(MODELS, "asked.fields(\"number\"), seen]", "seen]").replace("features=[seen]", "features=seen")}, 'training_set "rows": features wants a list\n  found  features = features "seen"\n  fix    write a list: [seen]'),
    ({"zmodels": swap(MODELS, 'at=asked', 'at="asked"')}, 'training_set "rows": at wants a stream (ms.stream) or a table (ms.table)\n  found  at = "asked"'),
    ({"zzlive": swap(LIVE, '[ab, bandit], default', 'trees, default')}, 'endpoint "point": decide wants'),
    ({"zzlive": swap(LIVE, 'unit="flight_id", assign=assign.ab', 'unit="flight_id", traffic=(0.0, float("nan")), assign=assign.ab').replace(', traffic=(0.0, 0.5)', "")}, "traffic[1] wants a finite number, 0 to 1\n  found  traffic[1] = nan"),
    ({"zmodels": swap(MODELS, 'metrics=["auc"]', 'schedule="0 0 31 2 *"')}, 'ms.model: schedule is not a schedule: Bad day-of-month'),
    ({"tables__a.sql": "-- @schedule @dayly\nselect ts from landed"}, 'table "a": schedule is not a schedule'),
    ({"streams": STREAMS + FILES.format('zone="Europe/Pariss"')}, 'zone is not a time zone\n  found  zone = "Europe/Pariss"\n  fix    did you mean "Europe/Paris"?'),
    ({"streams": swap(STREAMS, "    delay: float\n", "    delay: float = 'x'\n")}, 'streams.py:11  the field "delay" of Landed has a default of another type\n  found  delay = "x"'),
    ({"streams": swap(STREAMS, "    delay: float\n", "    größe: float\n")}, 'the field "größe" of Landed is not a name'),
    ({"streams": swap(STREAMS, '"landed", Landed', '"select", Landed')}, 'stream "select": its name is a word of SQL'),
])  # fmt: skip
def test_a_wrong_word_is_one_mistake_at_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], told: str) -> None:
    assert told in str(only(tmp_path, monkeypatch, files))


KINDS = {
    "stream": {"streams": STREAMS + 'more = ms.stream("{}", Landed, key="flight_id")\n'},
    "source": {"streams": STREAMS + 'ms.source(landed, ms.read.http(), name="{}")\n'},
    "table": {"zzlive": TABLE + 'ms.table("{}", "select ts from landed")\n'},
    "features": {"zmodels": MODELS + 'more = ms.features("{}", landed, key="carrier", aggregates={"n": agg.count()})\n'},
    "aggregate": {"zmodels": MODELS + 'more = ms.features("more", landed, key="carrier", aggregates={"{}": agg.count()})\n'},
    "training_set": {"zmodels": MODELS + 'more = ms.training_set("{}", at=asked, label=late, features=[seen])\n'},
    "label": {"zmodels": MODELS + 'more = ms.training_set("more", at=asked, label={"{}": late}, features=[seen])\n'},
    "derive": {"zmodels": MODELS + 'more = ms.training_set("more", at=asked, label=late, features=[seen], derive={"{}": "number"})\n'},
    "experiment": {"zzlive": LIVE + 'more = ms.experiment("{}", arms=both, unit="flight_id", assign=assign.ab(), reward=late)\n'},
    "layer": {"zzlive": LIVE + 'more = ms.experiment("more", arms=both, layer="{}", unit="flight_id", assign=assign.ab(), reward=late)\n'},
    "endpoint": {"zzlive": LIVE + 'more = ms.endpoint("{}", trees["champion"])\n'},
    "monitor": {"zzlive": LIVE + 'ms.monitor(point, expect.skew(), name="{}")\n'},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["l" * 101, "l" * 250, "Late", "a/b", "..", ".late", "late😀", "1late", "_late", "late-flights", "späť", "late ", ""])
def test_names_of_all_kinds_have_one_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str) -> None:
    error = only(tmp_path, monkeypatch, {file: text.replace("{}", name) for file, text in KINDS[kind].items()})
    assert error.code == "E101" and "folders, topics, tables and URLs" in error.fix and len(str(error)) < 500


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_of_a_hundred_letters_will_do(tmp_path: Path, kind: str) -> None:
    load(project(tmp_path, **{file: text.replace("{}", "l" * 100) for file, text in KINDS[kind].items()}))


ARM = LIVE + "more = ms.experiment('more', arms={%s: 1, 'b': 2}, unit='flight_id', assign=assign.ab(), reward=late)\n"


@pytest.mark.parametrize("arm", ["A", "control-1", "10 % off", "b'", "0", "größer", "l" * 100])
def test_an_arm_may_be_called_as_people_call_it(tmp_path: Path, arm: str) -> None:
    load(project(tmp_path, zzlive=ARM % repr(arm)))


@pytest.mark.parametrize("arm", ["", " ", "a\nb", "\x1b[31m", "l" * 101])
def test_an_arm_is_called_something_that_fits_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arm: str) -> None:
    assert only(tmp_path, monkeypatch, {"zzlive": ARM % repr(arm)}).code == "E193"


def test_names_of_files_and_functions_have_the_same_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = mistakes(
        tmp_path, monkeypatch, {"tables__Days.sql": "select ts from landed", "zmodels": swap(MODELS, "def linear", "def Linear").replace("linear[", "Linear[")}
    )
    assert [(e.code, e.found) for e in found] == [("E101", "Days"), ("E101", "Linear")]


WRONG = [
    ("    delay: dict\n    ts: ms.EventTime\n", ["E122"]),
    ("    dely: float\n    at: ms.EventTime\n", ["E112"]),
    ("    delay: float\n", ["E120"]),
    ('    delay: "Missing"\n    ts: ms.EventTime\n', ["E121"]),
    ("    delay: dict\n    Delay: set\n    ts: ms.EventTime\n", ["E122", "E122"]),
]


@pytest.mark.parametrize(("fields", "codes"), WRONG)
def test_a_wrong_class_is_told_and_nothing_that_follows_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: str, codes: list[str]) -> None:
    """Stream, outcome, features, set, models, experiments, endpoint, monitors and SQL hang on the class. Another mistake, elsewhere, is told too, after it."""
    files = {"streams": swap(STREAMS, "    delay: float\n    ts: ms.EventTime\n", fields), "zzlive": LIVE + "ms.monitor(asked, expect.rows('number'))\n",
             "tables__days.sql": "select ts, delay from landed", "aaa": 'import millstream as ms\nfrom streams import landed\nms.monitor(landed, ms.expect.rows("delay > 0"))\n'}  # fmt: skip
    files["zzlive"] = swap(files["zzlive"], "from streams import late", "from streams import asked, late")
    found = mistakes(tmp_path, monkeypatch, files)
    assert [e.code for e in found] == [*codes, "E113"], "\n".join(map(str, found))
    assert found[0].place is not None and found[0].place.line == line(files["streams"], "class Landed")


def test_a_class_that_is_inherited_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        swap(STREAMS, "    delay: float\n", "    delay: dict\n")
        + '\n\nclass More(Landed):\n    note: str\n\n\nmore = ms.stream("more", More, key="flight_id")\n'
    )
    assert only(tmp_path, monkeypatch, {"streams": text}).code == "E122"


@pytest.mark.parametrize(
    "use",
    [
        "landed.partitions + 1",
        "len(landed)",
        "sorted([landed, asked])",
        "for x in landed.key: print(x)",
        "print(f'{landed}', landed.name.upper())",
        "sum(seen)",
    ],
)
def test_what_a_module_does_with_what_was_not_made_is_no_second_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str) -> None:
    files = landed('contract="backwards"') | {"zzlive": TABLE + use + "\n"}
    assert only(tmp_path, monkeypatch, files).code == "E190"


def test_a_mistake_withholds_what_hangs_on_it_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQL that reads the stream which is not made is not blamed; SQL that reads what nobody meant to declare is."""
    files = landed('contract="backwards"') | {
        "tables__a.sql": "select ts from landed",
        "tables__b.sql": "select ts from landed__dead",
        "tables__c.sql": "select ts from lande",
    }
    assert [(e.code, e.found) for e in mistakes(tmp_path, monkeypatch, files)] == [("E190", 'contract = "backwards"'), ("E103", "lande")]


def test_every_wrong_argument_of_a_module_is_told_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = swap(STREAMS, 'Asked, key="flight_id"', 'Asked, key="flight_id", contract="full_transitiv", partitions=0, lateness="-1s"')
    text = swap(text, 'Landed, key="flight_id"', 'Landed, key="flight_id", ahead="1y"')
    assert [(e.code, e.found) for e in mistakes(tmp_path, monkeypatch, {"streams": text})] == [
        ("E110", 'lateness = "-1s"'), ("E124", "partitions = 0"), ("E190", 'contract = "full_transitiv"'), ("E110", 'ahead = "1y"'),
    ]  # fmt: skip


BAD = ["nosuch", "nosuch > 1", "delay >", "select", "$nosuch > 1", "count(*) > 1", "delay > 1; drop table x", "'"]
CONDITIONS = {
    "features over a stream": lambda text: {"zmodels": swap(MODELS, 'key="carrier"', f'key="carrier", where={text!r}')},
    "features over a table": lambda text: {"zzlive": DAYS + f'ms.features("more", days, key="carrier", where={text!r}, aggregates={{"n": agg.count()}})\n'},
    "set over a stream": lambda text: {"zmodels": swap(MODELS, "until=", f"where={text!r}, until=")},
    "set over a table": lambda text: {"zzlive": DAYS + f'ms.training_set("more", at=days, label=late, features=[seen], where={text!r})\n'},
    "outcome": lambda text: {"streams": swap(STREAMS, 'within="1d"', f'within="1d", where={text!r}')},
    "rows of a stream": lambda text: {"zzlive": DAYS + f"ms.monitor(landed, expect.rows({text!r}))\n"},
    "rows of a table": lambda text: {"zzlive": DAYS + f"ms.monitor(days, expect.rows({text!r}))\n"},
}


@pytest.mark.parametrize("where", CONDITIONS)
@pytest.mark.parametrize("text", BAD)
def test_conditions_are_judged_wherever_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, text: str) -> None:
    """Those over tables were not: a text that did not parse was found by the run."""
    error = only(tmp_path, monkeypatch, CONDITIONS[where](text))
    assert error.code in ("E111", "E113", "E116", "E117", "E135")


@pytest.mark.parametrize("where", [name for name in CONDITIONS if "table" in name])
def test_types_of_a_table_are_left_to_the_engine(tmp_path: Path, where: str) -> None:
    load(project(tmp_path, **CONDITIONS[where]("carrier = 'UA' and delay > $limit")))


@pytest.mark.parametrize(("more", "code"), [
    ('ms.table("t", landed.latest(), key="nosuch")\n', "E136"), ('ms.table("t", landed.history(), key="flight_id", time="valid")\n', "E136"),
    ('ms.table("t", landed.latest(), incremental="append")\n', "E131"), ('ms.table("t", landed.history(), time="valid_from", incremental="1d")\n', "E131"),
    ('@ms.table(landed, time="ts", incremental="1d")\ndef t(rows):\n    return rows\n', "E131"), ('ms.source(landed, ms.read.files("d/*.parquet", compression="gzip"))\n', "E190"),
    ('ms.table("t", "select")\n', "E132"), ("ms.monitor(landed, expect.not_null())\n", "E193"), ("ms.monitor(landed, expect.volume(9, 3))\n", "E192"),
])  # fmt: skip
def test_the_rest_that_was_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, code: str) -> None:
    assert only(tmp_path, monkeypatch, {"zzlive": TABLE + more}).code == code


@pytest.mark.parametrize(("old", "new", "code"), [
    ('assign=assign.ab(0.5, 0.5)', 'assign=assign.ab(float("nan"), 0.5)', "E160"),
    ('[ab, bandit], default=trees["champion"]', '[], default=trees["champion"]', "E193"),
    ('[ab, bandit], default=trees["champion"]', 'trees["champion"], request=Other', "E175"),
    ('arms=both, unit="flight_id", assign=assign.ab', 'arms={**both, "c": 1}, unit="flight_id", assign=assign.ab', "E160"),
])  # fmt: skip
def test_experiments_and_endpoints_that_were_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, code: str) -> None:
    text = swap(LIVE, old, new).replace("\n\nab =", "\n\nclass Other(ms.Event):\n    flight_id: str\n    ts: ms.EventTime\n\nab =")
    found = mistakes(tmp_path, monkeypatch, {"zzlive": text})
    assert found[0].code == code


@pytest.mark.parametrize(("text", "place", "found"), [
    ("[project]\nnam = 'p'\n", 2, 'nam = "p"'), ("[project]\nname = 5\n", 2, "name = 5"), ("[project]\nname = 'a/b'\n", 2, 'name = "a/b"'), (f"[project]\nname = '{'l' * 250}'\n", 2, "name = '" + "l" * 78 + "…"),
    ("profile = 5\n[project]\nname = 'p'\n", 1, "profile = 5"), ("params = 5\n[project]\nname = 'p'\n", 1, "params = 5"), ("project = 5\n", 1, "project = 5"),
    ("[project]\nname = 'p'\n[profile]\nlaptop = 5\n", 4, "laptop = 5"), ("[project]\nname = 'p'\n[collector]\nx = 1\n", 3, "collector"),
    ("[project]\nname = 'p'\n[params]\nx = nan\n", 4, "x = nan"), ("[project]\nname = 'p'\n[params]\nx = [1]\n", 4, "x = [1]"), ("[project]\nname = 'p'\n[params]\nlate-by = 1\n", 4, "late-by"),
    ("[project]\nname = 'p'\n[params]\nx = 99999999999999999999\n", 4, "x = 99999999999999999999"), ("[project]\nname = 'p'\n[params]\nend = 1\n", 4, "end = 1"),
    ("[project]\nname = 'p'\n[params]\nx = 10:30:00\n", 4, "x = datetime.time(10, 30)"),
])  # fmt: skip
def test_what_the_file_of_a_project_may_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, place: int, found: str) -> None:
    """A section that is none was a traceback; a parameter that no SQL can name, and a name of any letters, were taken."""
    monkeypatch.chdir(tmp_path)
    Path("millstream.toml").write_text(text)
    with pytest.raises(DefinitionErrors) as caught:
        load(".")
    (error,) = caught.value.errors
    assert (error.code, error.place, error.found) == ("E109", Place("millstream.toml", place), found) and error.fix
