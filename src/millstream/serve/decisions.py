"""The stream of an endpoint's decisions: the request, the features that were looked up, and the decision; and all streams of a project."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from types import GenericAlias
from typing import Any, Literal

from millstream.base.duration import UNITS
from millstream.base.errors import DefinitionError
from millstream.base.event import EventTime, Field, Kind, Schema
from millstream.declare import event as events
from millstream.declare.endpoint import Endpoint
from millstream.declare.event import Event
from millstream.declare.features import Feature, Features
from millstream.declare.project import Project
from millstream.declare.stream import Payload, Stream, stream
from millstream.declare.training_set import TrainingSet
from millstream.lang.expression import compile as compile_expression

_TYPES: dict[Kind, Any] = {"string": str, "int64": int, "float64": float, "bool": bool, "binary": bytes, "timestamp": datetime, "date": date}

# What a decision says besides the request and the features, in the order stored.
DECIDED: dict[str, tuple[Any, str]] = {
    "reasons": (str, "JSON: feature column -> why it is NULL (never_seen, none_in_reach, outside_window, no_value, too_large, null_key); prefix -> inexact"),
    "experiment": (str, "NULL when no experiment took the unit"),
    "phase": (int, "of the experiment"),
    "arm": (str, "of the experiment"),
    "propensity": (float, "probability with which this arm was chosen, as of the decision"),
    "model": (str, "NULL for a value arm"),
    "version": (int, "of the model"),
    "prediction": (float, "NULL for value arms and for models of several labels"),
    "value": (str, "JSON: the arm's value, or label -> prediction"),
    "as_of": (str, "JSON: stream -> partition -> next offset that the features had not seen"),
    "latency_us": (int, "from the request's arrival to the decision, without the durable append"),
}


def feature_columns(endpoint: Endpoint[Any, Any], params: Mapping[str, Any] | None = None) -> dict[str, Kind]:
    """Columns that the endpoint's models look up or derive, in order of first use: `origin_left__delay_3h` -> float64.

    Raises:
        DefinitionError: Two of its models derive a column of one name with different types.
    """
    columns: dict[str, Kind] = {}
    for on in dict.fromkeys(ref.model.on for ref in endpoint.refs()):
        looked_up = _looked_up(on)
        for name, kind in {**looked_up, **_derived(endpoint, on, looked_up, params or {})}.items():
            if columns.setdefault(name, kind) != kind:
                raise DefinitionError(f'endpoint "{endpoint.name}": its models disagree about the type of "{name}"', place=endpoint.place,
                                      found=f"{columns[name]} and {kind}", fix="give one of the derived columns another name", code="E172")  # fmt: skip
    return columns


def _looked_up(on: TrainingSet[Any]) -> dict[str, Kind]:
    columns: dict[str, Kind] = {}
    for used in on.inputs:
        if isinstance(used, Payload):
            continue
        whole = used.features if isinstance(used, Feature) else used
        chosen = [used.column] if isinstance(used, Feature) else list(whole.columns())
        columns.update((column, _kind(whole, column)) for column in chosen)
    return columns


def _kind(features: Features, column: str) -> Kind:
    aggregate, _ = features.columns()[column]
    return features.aggregates[aggregate].kind


def _derived(endpoint: Endpoint[Any, Any], on: TrainingSet[Any], looked_up: Mapping[str, Kind], params: Mapping[str, Any]) -> dict[str, Kind]:
    if not on.derive:
        return {}
    request = {f.name: f.kind for f in request_schema(endpoint).fields}
    return {name: compile_expression(text, {**request, **looked_up}, params, place=on.place, what=name).kind for name, text in on.derive.items()}


def request_schema(endpoint: Endpoint[Any, Any]) -> Schema:
    """The fields of a request.

    Raises:
        DefinitionError: The endpoint's spine is a table, so nothing says what a request holds.
    """
    event = endpoint.event
    if event is None:
        raise DefinitionError(f'endpoint "{endpoint.name}" has no class of a request', place=endpoint.place,
                              found="models over a table, or values without request=", fix="say request=YourEvent", code="E173")  # fmt: skip
    return event.__schema__


def all_streams(project: Project, skip: Collection[str] = ()) -> dict[str, Stream[Any]]:
    """Declared streams, then the decisions of each endpoint; without those of nouns that are to be skipped, since they are wrong."""
    declared = {name: stream for name, stream in project.streams.items() if name not in skip}
    return declared | {e.decisions: decisions_stream(e, project.params) for e in project.endpoints.values() if e.name not in skip}


def decisions_stream(endpoint: Endpoint[Any, Any], params: Mapping[str, Any] | None = None) -> Stream[Any]:
    """The stream `<endpoint>_decisions`: one event a decision, typed, features as columns.

    All but `decision_id` and `ts` may be NULL, so that a feature added tomorrow keeps the contract with what is stored.
    One partition: a group of decisions is then one batch of the log, and a partition takes more of them than endpoints make.
    `ts` is the event time of the request, or the moment it came.

    Raises:
        DefinitionError: A field of the request has the name of something a decision says.
    """
    request = request_schema(endpoint)
    features = feature_columns(endpoint, params)
    taken = {"decision_id", "unit", *DECIDED, *features}
    clash = [f.name for f in request.fields if f.name in taken or (f.name == "ts" and f.role != "event_time")]
    if clash:
        raise DefinitionError(f'endpoint "{endpoint.name}": {request.name} has a field that its decisions need for themselves',
                              place=endpoint.place, found=", ".join(clash), fix=f"rename it, e.g. {clash[0]}_given", code="E174")  # fmt: skip
    columns: dict[str, tuple[Any, str]] = {"unit": (str, "the value that experiments randomise; NULL for an endpoint without one")}
    columns |= {f.name: (_annotation(f), f.doc) for f in request.fields if f.name != "ts"}
    columns |= {name: (_TYPES[kind if kind in _TYPES else "string"], "") for name, kind in features.items()}
    columns |= DECIDED
    made = _event_class(f"{endpoint.name}_decision", f"A decision of the endpoint {endpoint.name}.", columns)
    return stream(endpoint.decisions, made, key="decision_id", dedupe="decision_id", partitions=1, ahead=_ahead(endpoint), doc=made.__doc__ or "")


def _ahead(endpoint: Endpoint[Any, Any]) -> timedelta:
    """As far as the events that the models are asked about may lie ahead; a day where no model has a stream for its spine."""
    spines = [ref.model.on.at for ref in endpoint.refs()]
    return timedelta(microseconds=max((at.ahead_us for at in spines if isinstance(at, Stream)), default=UNITS["d"]))


def _event_class(name: str, doc: str, columns: Mapping[str, tuple[Any, str]]) -> type[Event]:
    annotations: dict[str, Any] = {"decision_id": str} | {c: hint | None for c, (hint, _) in columns.items()} | {"ts": EventTime}
    defaults = {c: events.field(doc=text, default=None) for c, (_, text) in columns.items()}
    return type(
        "".join(word.title() for word in name.split("_")), (Event,), {"__doc__": doc, "__annotations__": annotations, "__module__": __name__} | defaults
    )


def _annotation(field: Field) -> Any:
    if field.kind == "enum":
        return Literal[field.symbols]
    return GenericAlias(list, (_TYPES[field.item],)) if field.item else _TYPES[field.kind]
