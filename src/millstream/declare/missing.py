"""A name that is not there: `agg.avg`, `ms.strem`, `from streams import bokings`. While a project loads it is one mistake and no end.

What is nearest is given in its place, or something unmade where nothing is near, so that the module runs on and tells its other mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from millstream.base.errors import DefinitionError
from millstream.base.place import here
from millstream.base.words import nearest
from millstream.declare.collect import listening, refuse
from millstream.declare.forgiven import forgiven
from millstream.declare.unmade import Unmade

SYNONYMS = {
    "avg": "mean",
    "average": "mean",
    "std": "variance",
    "stddev": "variance",
    "var": "variance",
    "total": "sum",
    "csv": "files",
    "file": "files",
    "web": "http",
}
"""What other tools call the same."""


def missing(owner: str, name: str, there: Mapping[str, Any], told: str = "") -> Any:
    """What stands for `owner.name`.

    Args:
        there: What the owner has, by name.
        told: The owner, as a message names it.

    Raises:
        AttributeError: No project is loading; or the name begins with _, which is asked for by Python itself; or whoever asks can do without it.
    """
    near = _near(name, there)
    heard = None if name.startswith("_") else listening()
    if heard is None or forgiven():
        raise AttributeError(f"{owner} has no {name!r}" + (f"; did you mean {near!r}?" if near else ""))
    shown = sorted(key for key in there if not key.startswith("_"))
    refuse([DefinitionError(f'{told or owner} has no "{name}"', place=here(), found=f"{owner}.{name}", code="E196",
                            fix=f'did you mean "{near}"?' if near else f"there are {', '.join(shown)}")])  # fmt: skip
    return there[near] if near else Unmade(heard)


def _near(name: str, there: Iterable[str]) -> str:
    shown = [key for key in there if not key.startswith("_")]
    word = SYNONYMS.get(name.lower(), "")
    if word in shown:
        return word
    found = nearest(name, shown)
    return found.split('"')[1] if found else ""


class Vocabulary(type):
    """The class of `agg`, `read`, `assign` and `expect`: functions by name, and nothing else."""

    if not TYPE_CHECKING:  # a type checker sees what is there

        def __getattr__(cls, name: str) -> Any:
            return missing(cls.__name__, name, {key: getattr(cls, key) for key in vars(cls) if not key.startswith("_")})
