"""What a client is told about a wrong request."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, Literal

import pytest

import millstream as ms
from millstream.base.moments import moment_of, moment_us
from millstream.ingest.form import BadEvent, EventForm
from millstream.serve.request import BadRequest, RequestForm


class Visit(ms.Event):
    user: str
    score: float
    count: int | None = None
    device: Literal["phone", "desk"] = "desk"
    tags: list[str] | None = None
    seen: list[dt.datetime] | None = None
    ts: ms.EventTime


FORM = RequestForm(Visit.__schema__)


def test_one_request_without_time_and_without_optional_fields() -> None:
    (request,), array = FORM.decode(b'{"user": "u", "score": 1}')
    assert request == {"user": "u", "score": 1.0, "count": None, "device": "desk", "tags": None, "seen": None, "ts": None} and not array


def test_many_requests() -> None:
    requests, array = FORM.decode(b'  [{"user":"u","score":1,"ts":"2013-11-01T13:00:00+01:00"},{"user":"v","score":2}]')
    assert array and [r["user"] for r in requests] == ["u", "v"]
    assert requests[0]["ts"] == dt.datetime(2013, 11, 1, 12, tzinfo=dt.UTC)


def test_fields_that_may_be_left_out_may_stand_before_those_that_may_not() -> None:
    class Order(ms.Event):
        note: str | None
        ts: ms.EventTime
        channel: str = "shop"
        user: str

    (request,), _ = RequestForm(Order.__schema__).decode(b'{"user": "u"}')
    assert request == {"note": None, "ts": None, "channel": "shop", "user": "u"}


@pytest.mark.parametrize(
    ("body", "field", "words", "fix"),
    [
        ({"score": 1}, "user", 'needs the field "user"', "send user as text in UTF-8"),
        ({"user": "u", "score": "x"}, "score", '"score" of Visit is "x" (text)', "send score as a number"),
        ({"user": "u", "score": 1, "device": "tv"}, "device", '"device" of Visit is "tv" (text)', "one of phone, desk"),
        (
            {"user": "u", "score": 1, "ts": "2013-11-01T12:00:00"},
            "ts",
            'field "ts" of Visit is "2013-11-01T12:00:00" (text), which has no time zone',
            "add Z, or an offset",
        ),
        ({"user": "u", "score": 1, "tags": ["a", 2]}, "tags", "field \"tags\" of Visit is ['a', 2] (an array)", "send tags as a JSON array"),
        (
            {"user": "u", "score": 1, "seen": ["2013-11-01T12:00:00"]},
            "seen",
            "is ['2013-11-01T12:00:00'] (an array), which has no time zone",
            "add Z, or an offset",
        ),
        ({"user": "u", "score": 1, "scor": 1}, "scor", 'no field "scor"', 'did you mean "score"?'),
        ({"user": "u", "score": 1, "DEVICE": "desk"}, "DEVICE", 'no field "DEVICE"', 'names are case-sensitive: send "device"'),
        ({"user": "u", "score": 1, "count": 2**63}, "count", 'field "count" of Visit is 9223372036854775808', "a whole number, e.g. 12, or nothing"),
    ],
)
def test_a_wrong_field_is_named_with_its_fix(body: dict[str, Any], field: str, words: str, fix: str) -> None:
    for sent in (body, [{"user": "ok", "score": 0}, body]):
        with pytest.raises(BadRequest) as caught:
            FORM.decode(json.dumps(sent).encode())
        assert caught.value.field == field and words in str(caught.value) and fix in caught.value.fix


def test_events_and_requests_are_refused_in_the_same_words() -> None:
    event = EventForm(Visit.__schema__, zoned=True, ids=True, closed=True)
    for field, value in (
        ("ts", '"2013-11-01"'),
        ("score", "1e400"),
        ("count", "1.5"),
        ("device", '"tv"'),
        ("user", "1"),
        ("tags", "[[]]"),
        ("user", "null"),
        ("seen", "[3]"),
    ):
        body = f'{{"user": "u", "score": 1, "ts": "2013-11-01T00:00:00Z", "{field}": {value}}}'.encode()
        with pytest.raises(BadRequest) as request:
            FORM.decode(body)
        with pytest.raises(BadEvent) as told:
            event.one(body)
        assert (str(request.value), request.value.fix) == (told.value.message, told.value.fix) and request.value.field == field


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b'{"user":"\xff","score":1}', b'{"user":"u","score":NaN}'])
def test_what_is_no_json_is_said_so(body: bytes) -> None:
    with pytest.raises(BadRequest, match="not JSON"):
        FORM.decode(body)


@pytest.mark.parametrize(("ts", "taken"), [
    ("0001-01-01T00:00:00Z", True), ("9999-12-31T23:59:59.999999Z", True), ("0001-01-01T00:00:00+00:01", False), ("9999-12-31T23:59:59.999999-00:01", False),
])  # fmt: skip
def test_times_from_the_year_1_to_9999_are_taken(ts: str, taken: bool) -> None:
    body = json.dumps({"user": "u", "score": 1, "ts": ts}).encode()
    if taken:
        assert FORM.decode(body)[0][0]["ts"] == dt.datetime.fromisoformat(ts)
    else:
        with pytest.raises(BadRequest, match=r'field "ts" of Visit is .*, which lies outside the years 1 to 9999'):
            FORM.decode(body)


def test_moments_are_exact_to_the_microsecond() -> None:
    for us in (0, 1, 1_385_294_400_123_457, 4_102_444_800_999_999):
        assert moment_us(moment_of(us)) == us


def test_zero_has_no_sign() -> None:
    """As in every table: a unit or key of -0.0 is the one of 0.0."""

    class Sized(ms.Event):
        size: float
        sizes: list[float] | None = None
        ts: ms.EventTime

    (request,), _ = RequestForm(Sized.__schema__).decode(b'{"size": -0.0, "sizes": [-0.0, -1.5]}')
    assert str(request["size"]) == "0.0" and str(request["sizes"]) == "[0.0, -1.5]"
