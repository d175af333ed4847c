"""How DuckDB's SQL becomes Spark's: one entry for each node of the syntax tree that travels; what has no entry is refused.

`same` lists what means the same in both. `@rule` functions rewrite a node whose children are rewritten already. `refused` names known
traps with the fix. The reference page of what travels is made of these tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlglot import exp
from sqlglot.dialects.spark import Spark

from millstream.base.errors import WorkFailed
from millstream.engines.spark.values import Args

Node: TypeAlias = exp.Expression


class Refused(WorkFailed):
    """The text says what Spark has no equal for."""


class Text(exp.Expression):
    """Spark's own text; {0}, {1} … are the expressions."""

    arg_types = {"this": True, "expressions": False}  # noqa: RUF012


def text(template: str, *holes: Node) -> Node:
    return Text(this=template, expressions=list(holes))


def literal(value: str) -> str:
    """A string of Spark, where a backslash escapes."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Dialect(Spark):
    """Spark, with `Text`."""

    class Generator(Spark.Generator):
        TRANSFORMS = {  # noqa: RUF012
            **Spark.Generator.TRANSFORMS,
            Text: lambda self, node: _filled(self, node),
            exp.Literal: lambda self, node: literal(node.name) if node.is_string else node.name,
        }


def _filled(generator: Any, node: Text) -> str:
    holes = []
    for hole in node.expressions:
        made = generator.sql(hole)
        bare = isinstance(hole, exp.Binary | exp.Unary | exp.Between | exp.In | exp.Case) and not isinstance(hole, exp.Paren | exp.Dot)
        holes.append(f"({made})" if bare else made)
    return str(node.args["this"]).format(*holes)


@dataclass
class Context:
    """What a rule may ask: DuckDB's types of the operands, by their nodes, and parameters; what it binds goes to `args`."""

    params: Mapping[str, Any] = field(default_factory=dict)
    args: Args = field(default_factory=dict)
    marked: dict[str, str] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)
    kept: list[Node] = field(default_factory=list)  # an id is good while its node lives

    def kind(self, node: Node | None) -> str:
        """DuckDB's name of the node's type; "" when it is not known."""
        return self.kinds.get(id(node), "") if node is not None else ""

    def learn(self, node: Node, kind: str) -> None:
        self.kinds[id(node)] = kind
        self.kept.append(node)


Rule = Callable[[Any, Context], Node]


@dataclass(frozen=True)
class Entry:
    """One line of the reference.

    Attributes:
        what: As DuckDB spells it.
        becomes: As Spark gets it, or "" when it is the same.
        fix: Of what is refused: what to write instead.
    """

    what: str
    becomes: str = ""
    fix: str = ""


SAME: set[type[Node]] = set()
RULES: dict[type[Node], Rule] = {}
NAMED: dict[str, Rule] = {}
"""By name: functions that sqlglot knows no node for."""
TYPED: dict[type[Node], tuple[str, ...]] = {}
"""Arguments whose types the rule asks for."""
REFERENCE: list[Entry] = []


def same(*nodes: type[Node]) -> None:
    SAME.update(nodes)


def rule(*nodes: type[Node] | str, what: str = "", becomes: str = "", typed: tuple[str, ...] = ()) -> Callable[[Rule], Rule]:
    """Rewrites nodes of these classes, or functions of these names.

    Args:
        what: As DuckDB spells it, for the reference; "" is what no user writes.
        becomes: What Spark gets.
        typed: Arguments (of a named function: "expressions") whose types the rule asks for.
    """

    def keep(function: Rule) -> Rule:
        for node in nodes:
            if isinstance(node, str):
                NAMED[node] = function
            else:
                RULES[node] = function
                if typed:
                    TYPED[node] = typed
        if what:
            REFERENCE.append(Entry(what, becomes))
        return function

    return keep


def refused(*nodes: type[Node] | str, what: str, fix: str) -> None:
    """These are refused with this fix."""

    def refuse(node: Node, context: Context) -> Node:
        raise no(node, fix)

    for node in nodes:
        (NAMED if isinstance(node, str) else RULES)[node] = refuse  # type: ignore[index]
    REFERENCE.append(Entry(what, fix=fix))


def no(node: Node, fix: str, why: str = "has no equal in Spark") -> Refused:
    return Refused(f"{short(node)}  {why}; {fix}")


def short(node: Node) -> str:
    found = node.sql(Dialect, unsupported_level=None) if node.find(Text) else node.sql("duckdb")
    line = " ".join(found.split())
    return line if len(line) <= 100 else line[:97] + "..."
