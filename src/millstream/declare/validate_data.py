"""Checks of what holds data: streams, tables, features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from millstream.base.duration import spell
from millstream.base.errors import DefinitionError, Place
from millstream.base.event import REQUIRED, Kind
from millstream.base.words import dialect, nearest
from millstream.declare.arguments import mistake
from millstream.declare.event import Event
from millstream.declare.features import Features
from millstream.declare.graph import READABLE, made
from millstream.declare.plain import Cron
from millstream.declare.source import FileReader, Source
from millstream.declare.stream import Stream
from millstream.declare.table import Table
from millstream.lang.cache import Cache
from millstream.lang.expression import OUTSIDE, UNTYPED
from millstream.lang.facts import Anything, kind_of, query
from millstream.lang.query import increment

if TYPE_CHECKING:
    from millstream.declare.noun import Noun
    from millstream.declare.project import Project

Errors = Iterator[DefinitionError]
KEYS = ("string", "enum", "int64", "bool", "date", "timestamp", "binary")
"""Kinds whose equality is exact."""
MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000


def fields_of(stream: Stream[Any]) -> dict[str, Kind]:
    """Names and kinds of a stream's payload."""
    return {field.name: field.kind for field in stream.schema.fields}


def columns_of(source: Noun, cache: Cache) -> Mapping[str, Kind]:
    """What expressions over a stream or table may read; a table's columns have no known type, and a star hides their
    names.
    """
    if isinstance(source, Stream):
        return fields_of(source)
    if isinstance(source, Table) and source.sql is not None:
        columns = query(source.sql, source.file or "", cache).columns
        if columns is not None:
            return dict.fromkeys(columns, "float64")
    if isinstance(source, Table) and source.contents is not None:
        return fields_of(source.contents.stream) | (
            {"valid_from": "timestamp", "valid_to": "timestamp"} if source.contents.form == "history" else {}
        )
    return Anything()


def check_class(event: type[Event], user: Noun) -> Errors:
    """A class of events, as `user` needs it: fields that SQL takes, and the one time."""
    schema, place = event.__schema__, event.__place__ or user.place
    names = schema.names()
    for name in names:
        spoken = dialect(name)
        if spoken:
            fix = "rename it, e.g. ts" if schema[name].role == "event_time" else f"rename it, e.g. {name}_value"
            yield DefinitionError(
                f'{user}: the field "{name}" of {schema.name} is a word of SQL',
                place=place,
                found=f"select {name} from {user.name}  does not parse in {spoken}",
                fix=fix,
                code="E112",
            )
        elif name.startswith("_"):
            yield DefinitionError(
                f'{user}: the field "{name}" of {schema.name} begins with _',
                place=place,
                found=name,
                fix=f"rename it, e.g. {name.strip('_') or 'value'}: such names are the envelope's",
                code="E112",
            )
    first: dict[str, str] = {}
    for name in names:
        if first.setdefault(name.lower(), name) != name:
            yield DefinitionError(
                f'{user}: the fields "{first[name.lower()]}" and "{name}" of {schema.name} differ by letter case only',
                place=place,
                found=f"{first[name.lower()]}, {name}",
                fix="rename one of them: SQL and the lake's tables ignore letter case",
                code="E112",
            )
    times = [f.name for f in schema.fields if f.role == "event_time"]
    if len(times) != 1:
        yield DefinitionError(
            f"{user}: {schema.name} needs exactly one field of type ms.EventTime",
            place=place,
            found=", ".join(times) or "none",
            fix="mark the field at which the fact became known:  ts: ms.EventTime",
            code="E120",
        )
    if len([f for f in schema.fields if f.role == "arrival_time"]) > 1:
        yield DefinitionError(
            f"{user}: {schema.name} has several fields of type ms.ArrivalTime",
            place=place,
            found="two arrivals of one event",
            fix="keep one",
            code="E120",
        )


def check_stream(stream: Stream[Any], project: Project, cache: Cache) -> Errors:
    """The fields that key and dedupe name."""
    schema, fields = stream.schema, fields_of(stream)
    for name in stream.key:
        if name not in fields:
            yield _missing(f'{stream}: its key "{name}" is not a field of {schema.name}', stream, name, fields)
        elif fields[name] not in KEYS:
            yield _inexact(stream, name, fields[name])
    if stream.dedupe not in (None, "event_id") and stream.dedupe not in fields:
        yield _missing(
            f'{stream}: dedupe="{stream.dedupe}" is not a field of {schema.name}', stream, str(stream.dedupe), fields
        )
    same = next((f.default for f in schema.fields if f.name == stream.dedupe and f.default is not REQUIRED), None)
    if same is not None:
        yield DefinitionError(
            f'{stream}: the field "{stream.dedupe}", which dedupe names, has a default',
            place=stream.place,
            found=repr(same),
            fix=f"{stream.dedupe}: ... | None = None; records that lack it would all be one record",
            code="E125",
        )


def _missing(message: str, noun: Noun, name: str, fields: Mapping[str, Kind]) -> DefinitionError:
    return DefinitionError(
        message,
        place=noun.place,
        found=", ".join(sorted(fields)),
        fix=nearest(name, fields) or "name one of them",
        code="E111",
    )


def _inexact(noun: Noun, name: str, kind: Kind) -> DefinitionError:
    return DefinitionError(
        f'{noun}: "{name}" cannot be a key, its values have no exact equality',
        place=noun.place,
        found=kind,
        fix="use a string, an integer, a boolean, a date or a time",
        code="E145",
    )


def check_source(source: Source, project: Project, cache: Cache) -> Errors:
    """What its reader says fits together."""
    reader = source.reader
    if (
        isinstance(reader, FileReader)
        and reader.compression
        and (reader.format == "parquet" or reader.glob.lower().endswith((".parquet", ".pq")))
    ):
        yield DefinitionError(
            f"{source}: a Parquet file is compressed inside",
            place=reader.place or source.place,
            found=f'compression = "{reader.compression}"',
            fix="leave compression= out",
            code="E190",
        )


def check_table(table: Table, project: Project, cache: Cache) -> Errors:
    """Its SQL parses and reads what is there; its header makes sense."""
    # Python's own argument has been checked
    untimely = Cron().wrong(table.schedule) if table.schedule and table.file else None
    if untimely is not None:
        yield mistake(str(table), "schedule", untimely, table.place)
    yield from _contents(table, cache)
    if table.lag_us is not None and table.lag_us < 0:
        yield DefinitionError(
            f"{table}: lag is not a length",
            place=table.place,
            found=spell(table.lag_us),
            fix='write "10m", "2h"',
            code="E110",
        )
    step = increment(table.incremental) if table.incremental else None
    whole = "the contents of a stream" if table.contents else "what a model scores" if table.scoring else ""
    if step and (whole or (step.length_us and table.function)):
        yield DefinitionError(
            f"{table}: {whole or 'what a function makes'} cannot be made so",
            place=table.place,
            found=f"incremental {table.incremental}",
            fix="leave incremental= out" + ("" if whole else ', or say "append"'),
            code="E131",
        )
    elif step and step.length_us and table.time is None:
        yield DefinitionError(
            f"{table} is rebuilt by intervals of nothing",
            place=table.place,
            found=f"incremental {table.incremental}",
            fix="name its column of time:  -- @time ts",
            code="E131",
        )
    if (
        table.scoring is not None
        and table.scoring.ref.model.on.at is not table.scoring.spine
        and not _same_event(table)
    ):
        yield DefinitionError(
            f"{table} scores rows of another kind",
            place=table.place,
            found=f"{table.scoring.spine} and {table.scoring.ref.model.on.at}",
            fix="score a spine with the columns of the training set's",
            code="E146",
        )
    if table.sql is None:
        return
    facts = query(table.sql, table.file or "", cache)
    yield from _read(table, facts.reads, project)
    if step and step.length_us is None and len(facts.reads) != 1:
        yield DefinitionError(
            f"{table} appends, so it reads one stream, row by row",
            place=table.place,
            found=", ".join(facts.reads) or "no table",
            fix='rebuild it by intervals: "1d lookback 2d"',
            code="E131",
        )
    by_interval = bool(step and step.length_us)
    for name in facts.params:
        if name in project.params or (by_interval and name in ("start", "end")):
            continue
        fix = (
            nearest(name, project.params) or f"[params] of millstream.toml has {', '.join(project.params) or 'nothing'}"
        )
        if name in ("start", "end"):
            fix = "$start and $end are bounds of an interval; say  -- @incremental 1d"
        yield DefinitionError(
            f"{table}: there is no parameter ${name}", place=table.place, found=f"${name}", fix=fix, code="E135"
        )
    for word, names in (("time", (table.time,) if table.time else ()), ("key", table.key)):
        for name in names:
            if facts.columns is not None and name.lower() not in facts.columns:
                yield no_column(table, word, name, facts.columns)


def no_column(
    table: Table, word: str, name: str, columns: Iterable[str], place: Place | None = None, otherwise: str = "select it"
) -> DefinitionError:
    """A time or key that a table does not have."""
    return DefinitionError(
        f'{table}: its {word} "{name}" is not a column of it',
        place=place or table.place,
        found=", ".join(columns),
        fix=nearest(name, columns) or otherwise,
        code="E136",
    )


def _contents(table: Table, cache: Cache) -> Errors:
    """The time and the key of a table that holds a stream's contents; these are made whole, not by intervals."""
    if table.contents is None:
        return
    columns = columns_of(table, cache)
    for word, name in [*(("key", name) for name in table.key), *([("time", table.time)] if table.time else [])]:
        if name not in columns:
            yield no_column(table, word, name, columns, otherwise="name one of them")


def _same_event(table: Table) -> bool:
    assert table.scoring is not None
    trained = table.scoring.ref.model.on.at
    return not (isinstance(table.scoring.spine, Stream) and isinstance(trained, Stream))


def _read(table: Table, reads: tuple[str, ...], project: Project) -> Errors:
    lake = {name for name, noun in project.by_name.items() if noun.kind in READABLE} | set(made(project.nouns))
    lake |= {f"{name}__dead" for name in project.streams}
    for name in reads:
        if name in lake or any(name == other or name.startswith(f"{other}_") for other in project.withheld):
            continue
        place, found = _line(table, name), name
        other = project.by_name.get(name)
        if other is not None:
            yield DefinitionError(
                f'{table} reads "{name}", which is not a table',
                place=place,
                found=str(other),
                fix=f"SQL reads {', '.join(k.replace('_', ' ') + 's' for k in READABLE)}",
                code="E103",
            )
        else:
            yield DefinitionError(
                f'{table} reads "{name}", which nothing declares',
                place=place,
                found=found,
                fix=nearest(name, lake) or f"there are {', '.join(sorted(lake)) or 'none'}",
                code="E103",
            )


def _line(table: Table, name: str) -> Any:
    """Where the SQL names it: a line of the file, or of the text below the noun's line."""
    from millstream.lang.query import line_of

    return Place(table.file, line_of(table.sql or "", name)) if table.file else table.place


def check_features(features: Features, project: Project, cache: Cache) -> Errors:
    """Key, windows and aggregates over the source."""
    source, fields = features.source, columns_of(features.source, cache)
    told = fields if isinstance(source, Stream) or isinstance(fields, Anything) else dict.fromkeys(fields, UNTYPED)
    if isinstance(source, Table) and source.time is None and not features.timeless:
        yield DefinitionError(
            f'{features}: the table "{source.name}" has no time, so today\'s values would leak into the past',
            place=features.place,
            found="a table without time=",
            fix="give the table its column of event time, or say timeless=True",
            code="E143",
        )
    if isinstance(source, Table) and source.time is not None and not features.timeless:
        yield from _known(features, source)
    for window in features.windows_us:
        if window is not None and (window <= 0 or window % hop_us(window)):
            nearest_one = max(hop_us(max(window, 1)), round(window / hop_us(max(window, 1))) * hop_us(max(window, 1)))
            yield DefinitionError(
                f"{features}: the window {spell(window)} is not a multiple of {spell(hop_us(max(window, 1)))}",
                place=features.place,
                found=spell(window),
                fix=f'say "{spell(nearest_one)}" (multiples of 5m below 12h, of 1h below 12d, of 1d above)',
                code="E144",
            )
    for name in features.key:
        if name not in fields:
            yield DefinitionError(
                f'{features}: {source} has no field "{name}"',
                place=features.place,
                found=", ".join(sorted(fields)),
                fix=nearest(name, fields) or "name the key's columns as the source does",
                code="E111",
            )
        elif isinstance(source, Stream) and fields[name] not in KEYS:
            yield _inexact(features, name, fields[name])
    if not features.aggregates:
        yield DefinitionError(
            f"{features} has no aggregate",
            place=features.place,
            found="aggregates={}",
            fix='e.g. {"n": agg.count()}',
            code="E114",
        )
    for name, aggregate in features.aggregates.items():
        if aggregate.expression is not None:
            yield from _aggregate(features, name, told, project, cache)
    if features.where is not None:
        yield from condition(features.where, told, project, cache, features, f"{features}, where")


def _known(features: Features, table: Table) -> Errors:
    """That it is known when a row of the table counts, and that a window can hold one."""
    known = table.known
    if known is None or (table.lag_us or 0) < 0:
        return  # the table's own mistake
    if known.missing:
        yield DefinitionError(
            f"{table}: nothing tells when a row of it is known, and {features} count it from then on",
            place=table.place,
            found=known.missing,
            fix=(
                '-- @lag 2h  (lag="2h"): how long after its time, or after the end of what it sums up, a row is'
                " committed at the latest"
            )
            + ("" if table.schedule else "; or a schedule"),
            code="E152",
        )
        return
    for window in features.windows_us:
        if window is not None and window > 0 and window + hop_us(window) <= known.wait_us:
            yield DefinitionError(
                f"{features}: a window of {spell(window)} is always empty",
                place=features.place,
                found=f'a row of "{table.name}" is known at {known}',
                fix=f"a window longer than {spell(known.wait_us)}, or a shorter lag of the table",
                code="E153",
            )


def _aggregate(features: Features, name: str, fields: Mapping[str, Kind], project: Project, cache: Cache) -> Errors:
    aggregate = features.aggregates[name]
    place, text = aggregate.place or features.place, aggregate.expression or ""
    try:
        kind = kind_of(text, fields, project.params, cache, place=place, what=f"{features}, {name}")
    except DefinitionError as error:
        yield error
        return
    if kind not in ("float64", "int64", "bool") and aggregate.operation != "count":
        yield DefinitionError(
            f"{features}, {name}: {aggregate.operation} needs a number",
            place=place,
            found=f"{text} is {kind}",
            fix="count it, or compare it: a boolean is 0 or 1",
            code="E114",
        )


def condition(
    text: str, fields: Mapping[str, Kind], project: Project, cache: Cache, noun: Any, what: str, *, loose: bool = False
) -> Errors:
    """That a text is a condition over the fields.

    Args:
        loose: The fields are a table's, whose types are not known before it is made: what goes by types is left to the
            engine.
    """
    try:
        kind = kind_of(text, fields, project.params, cache, place=noun.place, what=what, truth=True)
    except DefinitionError as error:
        if not (loose and of_types(error)):
            yield error
        return
    if kind != "bool" and not loose:
        yield DefinitionError(
            f"{what} is not a condition",
            place=noun.place,
            found=f"{text} is {kind}",
            fix="write a comparison",
            code="E113",
        )


def of_types(error: DefinitionError) -> bool:
    """Whether a mistake in an expression is about types alone. A table's columns have none before it is made."""
    return error.code == "E117" and OUTSIDE not in error.message


def hop_us(window_us: int) -> int:
    """How often the start of a window of this length moves (docs/feature-semantics.md, section 2)."""
    return 5 * MINUTE if window_us < 12 * HOUR else HOUR if window_us < 12 * DAY else DAY
