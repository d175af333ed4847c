"""Rules of plain values: texts, names, numbers, moments, schedules, zones, globs; and what a rule is."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from millstream.base.words import BECOMES, LETTERS, LONGEST, SCHEDULES, nearest, short, unfit

_GIVEN = {
    "Stream": "a stream (ms.stream)", "Table": "a table (ms.table)", "Features": "features (ms.features)", "Feature": 'one feature (seen["n_3h"])',
    "Payload": 'fields of the request (orders.fields("amount"))', "Contents": "the contents of a stream (orders.latest())",
    "Scoring": 'a model over a spine (trees["champion"].over(weeks))', "Outcome": "an outcome (ms.outcome)", "Reward": "a reward (bought.score)",
    "TrainingSet": "a training set (ms.training_set)", "Split": "a split (ms.by_time)", "Model": "a model (@ms.model)",
    "ModelRef": 'a version of a model (trees["champion"])', "Experiment": "an experiment (ms.experiment)", "Endpoint": "an endpoint (ms.endpoint)",
    "Aggregate": "an aggregate (ms.agg)", "Reader": "a reader (ms.read)", "Check": "a check (ms.expect)", "Assign": "a way to assign (ms.assign)",
}  # fmt: skip
"""What an object of ours is called, and what gives one."""


_INSTEAD = {
    "Model": ('say which version: ["champion"], ["challenger"], ["latest"] or its number', "E191"),
    "Decisions": ("make a table of them:  -- @time ts  /  select ... from <endpoint>_decisions", "E137"),
}
"""What to write for an object that is often given where it does not fit, and the code of the page that explains it."""


@dataclass(frozen=True)
class Wrong:
    """What is wrong with one value. `says` continues after the argument's name; `part` is where in the value: `[2]`."""

    says: str
    found: Any
    fix: str
    code: str
    part: str = ""


class Rule(ABC):
    """A kind of value. `wants` names it, as in: severity wants ..."""

    wants: str
    code = "E191"

    @abstractmethod
    def fits(self, value: Any) -> bool:
        """Whether the value is of this kind at all; a rule of several kinds asks the one that fits what is wrong."""

    def wrong(self, value: Any) -> Wrong | None:
        """None when the value will do."""
        return None if self.fits(value) else self.other(value)

    def other(self, value: Any) -> Wrong:
        """A value of another kind. Of the usual slips it is known what was meant."""
        fix, code = _INSTEAD.get(type(value).__name__, (f"give {self.wants}", self.code))
        return Wrong(f"wants {self.wants}", value, fix, code)


@dataclass(frozen=True)
class Text(Rule):
    """A text that says something."""

    wants: str = "a text"
    empty: bool = False

    def fits(self, value: Any) -> bool:
        return isinstance(value, str)

    def wrong(self, value: Any) -> Wrong | None:
        if isinstance(value, str) and not value.strip() and not self.empty:
            return Wrong("is empty", value, f"give {self.wants}, or leave it out", "E193")
        return super().wrong(value)


@dataclass(frozen=True)
class Label(Text):
    """A text that people read and write, such as the name of an arm: no folder and no table is called so."""

    wants: str = f"a text of at most {LONGEST} letters"

    def wrong(self, value: Any) -> Wrong | None:
        if isinstance(value, str) and (len(value) > LONGEST or not value.isprintable()):
            return Wrong(f"is not text of at most {LONGEST} letters", value, "give a short one, without line ends or control characters", "E193")
        return super().wrong(value)


@dataclass(frozen=True)
class Named(Rule):
    """A name: of a noun, or of a part of one."""

    wants: str = f"a name: {LETTERS}"
    code: str = "E101"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str)

    def wrong(self, value: Any) -> Wrong | None:
        if not isinstance(value, str):
            return Wrong("wants a name", value, f"{LETTERS}: {BECOMES}", self.code)
        said = unfit(value)
        return Wrong(said[0], value, said[1], self.code) if said else None


@dataclass(frozen=True)
class Word(Rule):
    """One of a fixed vocabulary."""

    words: tuple[Any, ...]
    code: str = "E190"

    @property
    def wants(self) -> str:  # type: ignore[override]
        return f"one of {', '.join(_quoted(word) for word in self.words)}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str)

    def wrong(self, value: Any) -> Wrong | None:
        if isinstance(value, str) and value in self.words:
            return None
        near = nearest(value.lower(), self.words) if isinstance(value, str) else ""
        return Wrong("is a word it does not know" if isinstance(value, str) else "wants a word", value,
                     f"{near} " * bool(near) + f"there are {', '.join(_quoted(word) for word in self.words)}", self.code)  # fmt: skip


@dataclass(frozen=True)
class Whole(Rule):
    """An integer within bounds, both included; a boolean is none."""

    least: int | None = None
    most: int | None = None
    code: str = "E192"

    @property
    def wants(self) -> str:  # type: ignore[override]
        return f"a whole number{_range(self.least, self.most)}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    def wrong(self, value: Any) -> Wrong | None:
        if not self.fits(value):
            return self.other(value)
        outside = (self.least is not None and value < self.least) or (self.most is not None and value > self.most) or abs(value) >= 2**63
        return Wrong(f"wants {self.wants}", value, f"give {self.wants}", self.code) if outside else None


@dataclass(frozen=True)
class Number(Rule):
    """A finite number within bounds; `above` leaves the lower one out."""

    least: float | None = None
    most: float | None = None
    above: bool = False
    code: str = "E192"

    @property
    def wants(self) -> str:  # type: ignore[override]
        if self.above:
            return f"a number above {self.least:g}" + (f", at most {self.most:g}" if self.most is not None else "")
        return f"a finite number{_range(self.least, self.most)}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    def wrong(self, value: Any) -> Wrong | None:
        if not self.fits(value):
            return self.other(value)
        low = self.least is not None and (value < self.least or (self.above and value == self.least))
        large = isinstance(value, int) and abs(value) >= 2**63
        if large or not _finite(value) or low or (self.most is not None and value > self.most):
            return Wrong(f"wants {self.wants}", value, f"give {self.wants}", self.code)
        return None


@dataclass(frozen=True)
class Flag(Rule):
    """True or False, and nothing that merely looks like it."""

    wants: str = "True or False"

    def fits(self, value: Any) -> bool:
        return isinstance(value, bool)


@dataclass(frozen=True)
class Moment(Rule):
    """A moment: ISO 8601, a date or a datetime."""

    wants: str = 'a moment, e.g. "2013-11-01" or "2013-11-01T06:00:00+00:00"'
    code: str = "E119"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str | date)

    def wrong(self, value: Any) -> Wrong | None:
        if not self.fits(value):
            return self.other(value)
        try:
            moment(value)
        except (ValueError, OverflowError) as error:
            return Wrong(f"is not a moment: {error}", value, f"give {self.wants}", self.code)
        return None


@dataclass(frozen=True)
class Cron(Rule):
    """When something is made again: five fields of cron, or a named line."""

    wants: str = f'a cron line of five fields ("0 6 * * 1") or one of {", ".join(SCHEDULES)}'
    code: str = "E118"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str)

    def wrong(self, value: Any) -> Wrong | None:
        from cronsim import CronSim, CronSimError

        if not isinstance(value, str):
            return self.other(value)
        try:
            next(CronSim(SCHEDULES.get(value, value), datetime(2026, 1, 1, tzinfo=UTC)))
        except StopIteration:
            return Wrong("never comes", value, f"give {self.wants}", self.code)
        except (CronSimError, ValueError) as error:
            near = nearest(value, SCHEDULES) if value.startswith("@") else ""
            return Wrong("is not a schedule" + (f": {error}" if str(error) != "Bad expression" else ""), value, near or f"give {self.wants}", self.code)
        return None


@dataclass(frozen=True)
class Zone(Rule):
    """A time zone by its name in the IANA database."""

    wants: str = 'a time zone, e.g. "UTC" or "Europe/Paris"'
    code: str = "E190"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str)

    def wrong(self, value: Any) -> Wrong | None:
        from zoneinfo import available_timezones

        if not isinstance(value, str):
            return self.other(value)
        if value in available_timezones():
            return None
        near = nearest(value, sorted(available_timezones()))
        return Wrong("is not a time zone", value, near or f"give {self.wants}", self.code)


@dataclass(frozen=True)
class Glob(Rule):
    """Files below the project."""

    wants: str = 'a path below the project\'s folder, e.g. "data/*.csv.gz"'
    code: str = "E193"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str)

    def wrong(self, value: Any) -> Wrong | None:
        if not isinstance(value, str):
            return self.other(value)
        bad = not value.strip() or value.startswith(("/", "~")) or ".." in value.split("/") or "\0" in value or "://" in value
        return Wrong(f"wants {self.wants}", value, f"give {self.wants}; a link in the folder may lead elsewhere", self.code) if bad else None


@dataclass(frozen=True)
class Json(Rule):
    """A value that can be answered as JSON: finite numbers, texts, booleans, None, lists and mappings of them."""

    wants: str = "a value that JSON can hold"

    def fits(self, value: Any) -> bool:
        if isinstance(value, Mapping):
            return all(isinstance(key, str) and self.fits(item) for key, item in value.items())
        if isinstance(value, list | tuple):
            return all(map(self.fits, value))
        return value is None or isinstance(value, str | bool) or (isinstance(value, int | float) and _finite(value))


@dataclass(frozen=True)
class Anything(Rule):
    """What something later judges, which `why` names."""

    why: str
    wants: str = "anything"

    def fits(self, value: Any) -> bool:
        return True


@dataclass(frozen=True)
class Instance(Rule):
    """An object of ours: the value that a declaration gave."""

    of: type
    code: str = "E191"

    @property
    def wants(self) -> str:  # type: ignore[override]
        return _GIVEN.get(self.of.__name__, self.of.__name__)

    def fits(self, value: Any) -> bool:
        return isinstance(value, self.of)


@dataclass(frozen=True)
class Class(Rule):
    """A class of ours, subclassed by the user."""

    of: type
    wants: str = "a class of events: class Order(ms.Event)"

    def fits(self, value: Any) -> bool:
        return isinstance(value, type) and issubclass(value, self.of) and value is not self.of


@dataclass(frozen=True)
class Function(Rule):
    """A function of the project; its name is the name of what is declared."""

    wants: str = "a function: def name(...)"

    def fits(self, value: Any) -> bool:
        return inspect.isfunction(value)


def moment(said: str | date) -> datetime:
    """The moment that a text, a date or a datetime says; UTC where it has no zone. Raises ValueError, OverflowError."""
    found = datetime.fromisoformat(said if isinstance(said, str) else said.isoformat())
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _range(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f", {least:g} to {most:g}"
    return f", at least {least:g}" if least is not None else f", at most {most:g}" if most is not None else ""


def _quoted(word: Any) -> str:
    return f'"{word}"'


def _spelt(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else getattr(value, "name", None) or short(value)
