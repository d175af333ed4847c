"""Writes docs/reference/ from the code: command line, configuration, error codes, Python API, ports and engines, SQL on
Spark, values.

    python scripts/reference.py            write what has changed
    python scripts/reference.py --check    write nothing; exit code 1 when a page is stale

Nothing here depends on the machine, the time or the terminal, so the same code gives the same pages.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import json
import pkgutil
import re
import sys
import tempfile
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import click

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
MADE_BY = "<!-- Made by `make docs` from the code. Change the code, not this page. -->\n"

NOUNS = (
    "stream",
    "source",
    "table",
    "features",
    "outcome",
    "training_set",
    "by_time",
    "model",
    "experiment",
    "endpoint",
    "decisions",
    "monitor",
)
"""In the order of an event's way; the other names of `millstream` follow, and a test holds that none is left out."""
TYPES = ("Event", "Change", "EventTime", "ArrivalTime", "field", "Train")
VOCABULARIES = ("read", "agg", "assign", "expect")
RETURNED = {
    "stream": {"stream": "millstream.declare.stream:Stream"},
    "features": {"features": "millstream.declare.features:Features"},
    "outcome": {"outcome": "millstream.declare.outcome:Outcome"},
    "model": {"model": "millstream.declare.model:Model", 'model["champion"]': "millstream.declare.model:ModelRef"},
}
"""Nouns whose value has methods that a user calls."""
OTHERS = {
    "millstream.client": ("Client", "Receipt", "Decision", "BadEvent"),
    "millstream.testing": ("Lab",),
    "millstream.declare.project": ("Project",),
}
EXPLAINED = ("Name", "Columns", "Duration", "Span", "Schedule", "EventTime", "ArrivalTime", "Target")
"""Types that the page of the API explains."""
PORTS = {
    "log": ("millstream.log.port:Log", "log", "the log of events"),
    "schemas": ("millstream.log.port:Schemas", "registry", "schemas of the log's records"),
    "source": (
        "millstream.ingest.port:SourceEngine",
        "",
        "what a stream is read from; chosen by the reader, not by a URL",
    ),
    "files": ("millstream.lake.port:Files", "lake", "where the lake's files lie"),
    "sink": ("millstream.lake.port:Sinks", "sink", "what lands streams in the lake"),
    "catalog": ("millstream.lake.port:Catalog", "catalog", "where other tools find the lake's tables by name"),
    "sql": ("millstream.transform.port:Sql", "compute", "what runs SQL"),
    "online": ("millstream.features.port:OnlineStore", "online", "features for serving"),
    "orchestrator": ("millstream.run.port:Orchestrator", "orchestrator", "what runs the assets when nobody waits"),
    "tracking": ("millstream.train.port:Tracking", "tracking", "runs and versions of models"),
    "state": ("millstream.state.port:State", "state", "what is remembered beside data"),
}
"""Port -> its protocol, the setting whose URL chooses the engine, and what it is for."""


def cli() -> str:
    """Every verb with its help, arguments and options."""
    from millstream.app.cli.main import VERBS
    from millstream.app.cli.main import cli as group

    lines = ["# Command line", "", MADE_BY, _help(group), "", "Options before the verb:", "", *_options(group), ""]
    lines += [
        "| verb | |",
        "|---|---|",
        *(f"| [`{name}`](#millstream-{name}) | {text} |" for name, (_, text) in VERBS.items()),
        "",
    ]
    context = click.Context(group, info_name="millstream")
    for name in VERBS:
        command = group.get_command(context, name)
        assert command is not None
        usage = " ".join(command.collect_usage_pieces(click.Context(command, info_name=name, parent=context)))
        lines += [f"## `millstream {name}`", "", f"    millstream {name} {usage}".rstrip(), "", _help(command), ""]
        options = _options(command)
        lines += [*options, ""] if options else []
        lines += _subverbs(command, name) if isinstance(command, click.Group) else []
    return "\n".join(lines)


def _subverbs(group: click.Group, verb: str) -> list[str]:
    """What a verb with verbs of its own can be asked for."""
    lines: list[str] = []
    for name, command in group.commands.items():
        usage = " ".join(command.collect_usage_pieces(click.Context(command, info_name=name)))
        lines += [f"### `{verb} {name}`", "", f"    millstream {verb} {name} {usage}".rstrip(), "", _help(command), ""]
        options = _options(command)
        lines += [*options, ""] if options else []
    return lines


def _help(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def _options(command: click.Command) -> list[str]:
    rows = []
    for option in command.params:
        if not isinstance(option, click.Option) or option.hidden or option.name in ("help", "version"):
            continue
        spelled = ", ".join(f"`{word}`" for word in (*option.opts, *option.secondary_opts))
        value = "" if option.is_flag else option.metavar or option.type.name.upper()
        default = f" Default: `{option.default}`." if option.show_default and option.default is not None else ""
        rows.append(
            f"| {spelled} {f'`{value}`' if value else ''} | {_cell((option.help or '') + default)} |".replace(
                "`  |", "` |"
            )
        )
    return ["| option | |", "|---|---|", *rows] if rows else []


def configuration() -> str:
    """Every setting: what it is for, its default, its variable, and where it may stand."""
    from millstream.base.settings import DEFAULTS, MEANINGS, SECRETS
    from millstream.run.settings import _BASE as SECTIONS

    lines = ["# Configuration", "", MADE_BY]
    lines += [
        inspect.cleandoc("""
        Settings name infrastructure only: URLs of engines, addresses of servers. They never change what a project
        computes. `millstream config --show-origin` shows each one with its value and where it was said.

        A later one of these wins:

        1. the default, which needs no service
        2. a section of `millstream.toml`: `[serve]`, `[console]`, `[alerts]`, `[cluster]`
        3. `[profile.NAME]` of `millstream.toml`; the profile is `laptop` unless `--profile` or `MILLSTREAM_PROFILE`
           says another
        4. the environment
        5. `--set KEY=VALUE`, before the verb

        A secret stands in files and flags by reference only: `env:NAME` (a variable) or `file:PATH` (the text of a
        file, relative to the project). It is never shown. Relative paths are below the project's folder. An unknown
        setting is an error, in a file as in the environment.

        Two sections are not settings: `[project]` has the `name`, and `[params]` has the constants of the logic,
        `$name` in every expression and table: a number, a string, a boolean, a date (`2026-01-05`), or a date with a
        time (without a zone it is of UTC). They are part of what is computed, so no environment changes them.
    """),
        "",
    ]
    for key, default in DEFAULTS.items():
        section = key.partition(".")[0]
        places = [f"`[profile.NAME]` as `{key}`"] + (
            [f"`[{section}]` as `{key.partition('.')[2]}`"] if section in SECTIONS else []
        )
        lines += [f"## `{key}`", "", MEANINGS[key] + (" A secret." if key in SECRETS else ""), "", "| | |", "|---|---|"]
        lines += [
            f"| default | {f'`{default}`' if default != '' else 'empty'} |",
            f"| variable | `MILLSTREAM_{key.replace('.', '_').upper()}` |",
        ]
        lines += [f"| may stand in | {'; '.join(places)}; `--set {key}=...` |", ""]
    lines += ["## Variables that are not settings", "", "| variable | |", "|---|---|"]
    lines += ["| `MILLSTREAM_PROFILE` | the profile, when `--profile` is not given |"]
    lines += ["| `MILLSTREAM_DEBUG` | any value: errors come with their traceback |", ""]
    return "\n".join(lines)


def errors() -> str:
    """The page of every code, and the tree of exceptions."""
    from millstream.base import errors as tree
    from millstream.declare.pages import PAGES

    lines = ["# Errors", "", MADE_BY]
    lines += [
        (
            "A mistake in a definition names its file and line, what was found, the fix, and a code. `millstream show"
            " CODE` prints the page below."
        ),
        "All mistakes of a project are shown together.",
        "",
    ]
    for code, page in PAGES.items():
        title, _, text = page.partition("\n")
        lines += [f"## {code}", "", title.partition(": ")[2][:1].upper() + title.partition(": ")[2][1:] + ".", ""]
        lines += [re.sub(r"^Fix: ", "\n**Fix:** ", text, flags=re.MULTILINE).strip().replace("<", "&lt;"), ""]
    lines += [
        "## Exceptions",
        "",
        "All are in `millstream.base.errors`. The number is the exit code of a verb that ends with one.",
        "",
    ]
    lines += [
        "```text",
        inspect.cleandoc(tree.__doc__ or "").partition("\n\n")[2],
        "```",
        "",
        (
            "`millstream.client` raises these too. An object that does not fit its class is its `BadEvent`, a"
            " `UsageError` that is raised before anything is sent: its"
        ),
        (
            "text says which event or request of those given, which field, what it holds and what to give; `message`,"
            " `fix` and `field` hold the parts."
        ),
        "",
    ]
    return "\n".join(lines)


def api() -> str:
    """Names of `millstream`, and of the modules a user imports beside it."""
    import millstream as ms

    lines = [
        "# Python API",
        "",
        MADE_BY,
        inspect.cleandoc("""
        `import millstream as ms` declares; `millstream.client` talks to a server; `millstream.testing` tests a project.
        Lengths of time (`Duration`; a `Span` is above nothing) are texts such as `"10m"`, `"3h"`, `"7d"`, or a
        `timedelta`. Expressions are scalar SQL in DuckDB's dialect, and `$name` in them is a parameter of
        `millstream.toml`. A `Name` has lower case letters, digits and _, at most 100; `Columns` are one name or a list
        of them; a `Schedule` is a line of cron or "@daily". Every argument is checked when it is given: what does not
        fit is a mistake with a [code](errors.md) that names the argument, its value and what is possible.
    """),
        "",
        "## Nouns",
        "",
    ]
    for name in NOUNS:
        lines += _function(f"ms.{name}", getattr(ms, name))
        lines += [line for owner, path in RETURNED.get(name, {}).items() for line in _methods(owner, _load(path))]
    lines += ["## Types", ""]
    for name in TYPES:
        value = getattr(ms, name)
        described = _class if inspect.isclass(value) else _function if inspect.isfunction(value) else _alias
        lines += described(f"ms.{name}", value)
    for name in VOCABULARIES:
        vocabulary = getattr(ms, name)
        lines += [f"## `ms.{name}`", "", inspect.cleandoc(vocabulary.__doc__ or ""), ""]
        for method in _public(vocabulary):
            lines += _function(f"ms.{name}.{method}", getattr(vocabulary, method))
    lines += ["## Beside the nouns", "", *_function("ms.load", ms.load)]
    for module, names in OTHERS.items():
        lines += [line for name in names for line in _class(f"{module}.{name}", getattr(import_module(module), name))]
    return "\n".join(lines)


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _public(cls: type) -> list[str]:
    """Methods in the order they are written; what the graph asks of every noun is not a call for a user."""
    return [
        n
        for n, v in vars(cls).items()
        if (not n.startswith("_") or n == "__getitem__")
        and callable(getattr(cls, n))
        and not isinstance(v, type)
        and n != "upstream"
    ]


def _function(name: str, function: Callable[..., Any]) -> list[str]:
    return [f"### `{name}`", "", "```python", _signature(name, function), "```", "", *_doc(function)]


def _methods(owner: str, cls: type) -> list[str]:
    lines: list[str] = []
    for name in _public(cls):
        function = getattr(cls, name)
        shown = f"{owner}[...]" if name == "__getitem__" else f"{owner}.{name}"
        lines += [
            f"#### `{shown}`",
            "",
            "```python",
            _signature(shown, function, method=True),
            "```",
            "",
            *_doc(function),
        ]
    return lines


def _class(name: str, cls: Any) -> list[str]:
    lines = [f"### `{name}`", "", *_doc(cls)]
    own = name.rpartition(".")[2]
    if "__init__" in vars(cls) and not hasattr(cls, "__dataclass_fields__") and not getattr(cls, "_is_protocol", False):
        lines[2:2] = ["```python", _signature(own, cls.__init__, method=True), "```", ""]
    return lines + _methods(own.lower(), cls) if own in ("Client", "Lab", "Project") else lines


def _alias(name: str, value: object) -> list[str]:
    """A name for a type, described by the string below it in the source."""
    import millstream.base.event as event

    body = ast.parse(inspect.getsource(event)).body
    for statement, after in pairwise(body):
        if (
            isinstance(statement, ast.Assign)
            and isinstance(statement.targets[0], ast.Name)
            and f"ms.{statement.targets[0].id}" == name
        ):
            assert isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            return [f"### `{name}`", "", str(after.value.value), ""]
    raise AssertionError(f"{name} is described nowhere")


def _signature(name: str, function: Callable[..., Any], *, method: bool = False) -> str:
    """The signature as a call; one parameter a line when it is long."""
    signature = inspect.signature(function)
    words, starred = list[str](), False
    for p in list(signature.parameters.values())[1 if method else 0 :]:
        if p.kind is p.KEYWORD_ONLY and not starred:
            words.append("*")
        starred = starred or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        words.append(_parameter(p))
    made = signature.return_annotation
    arrow = "" if made is inspect.Signature.empty or function.__name__ == "__init__" else f" -> {_type(made)}"
    if name.endswith("[...]"):
        return f"{name[:-5]}[{', '.join(words)}]{arrow}"
    line = f"{name}({', '.join(words)}){arrow}"
    return line if len(line) <= 110 else f"{name}(\n" + "".join(f"    {word},\n" for word in words) + f"){arrow}"


def _parameter(p: inspect.Parameter) -> str:
    stars = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
    typed = "" if p.annotation is p.empty else f": {_type(p.annotation)}"
    if p.default is p.empty:
        return f"{stars}{p.name}{typed}"
    given = (
        f'"{p.default}"'
        if isinstance(p.default, str)
        else "..."
        if p.default is dataclasses.MISSING
        else _short(repr(p.default))
    )
    return f"{p.name}{typed} = {given}" if typed else f"{p.name}={given}"


def _type(annotation: Any) -> str:
    """The annotation as a reader wants it: vocabularies with their words, other rules without."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    plain = re.sub(r"Annotated\[((?:[^\[\],]|\[[^\]]*\])+(?:\[[^\]]*\])*?), [^\]]*?\]", r"\1", text)
    return re.sub(r"\b[A-Z]\w+\b", lambda word: _aliases().get(word[0], word[0]), _short(plain))


@functools.cache
def _aliases() -> dict[str, str]:
    """Names of types in `declare/` that are told by what they stand for; those that the page explains stay."""
    import millstream.declare

    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(millstream.declare.__path__):
        if module.name == "contract":
            continue
        for name, value in vars(import_module(f"millstream.declare.{module.name}")).items():
            if name in EXPLAINED or get_origin(value) not in (Annotated, Literal, types.UnionType, typing.Union):
                continue
            found[name] = _plain(value)
    return found


def _plain(of: Any) -> str:
    origin = get_origin(of)
    if origin is Annotated:
        return _plain(get_args(of)[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(json.dumps, get_args(of)))}]"
    if origin in (types.UnionType, typing.Union):
        return " | ".join(map(_plain, get_args(of)))
    return _short(inspect.formatannotation(of))


def _short(text: str) -> str:
    """Names without their modules."""
    return re.sub(r"\b(?:[a-z_]+\.)+(\w+)", r"\1", text)


def _doc(of: Any) -> list[str]:
    """A docstring in Google's style as Markdown: paragraphs, then its sections as lists."""
    lines: list[str] = []
    for line in inspect.cleandoc(of.__doc__ or "").splitlines():
        if re.fullmatch(r"(Args|Attributes|Raises|Returns):", line):
            lines += ["", f"{'Parameters' if line == 'Args:' else line[:-1]}:", ""]
        elif named := re.match(r" {4}(\w[\w, ]*): (.*)", line):
            lines.append("- " + ", ".join(f"`{word}`" for word in named[1].split(", ")) + f": {named[2]}")
        else:
            lines.append(re.sub(r"^ {8}", "  ", line) if line.startswith("        ") else re.sub(r"^ {4}", "", line))
    return [*lines, ""] if lines else []


def engines() -> str:
    """Ports and the engines behind them, from the entry points; what a port's engines may do beyond it, from its
    mixins.
    """
    lines = [
        "# Ports and engines",
        "",
        MADE_BY,
        inspect.cleandoc("""
        A port is what Millstream needs of a technology. An engine is a technology behind a port. A profile names
        engines by URL; `millstream.base.registry` finds them among the installed entry points `millstream.<port>`.
        Every engine of a port passes the port's contract suite. How to add one:
        [an engine of your own](../how-to/add-an-engine.md).
    """),
        "",
        "| port | for | setting | engines |",
        "|---|---|---|---|",
    ]
    found = {port: sorted(entry_points(group=f"millstream.{port}"), key=lambda point: point.name) for port in PORTS}
    for port, (_, setting, text) in PORTS.items():
        lines.append(
            f"| [{port}](#{port}) | {text} | {f'`{setting}`' if setting else ''} |"
            f" {', '.join(f'`{point.name}`' for point in found[port])} |"
        )
    lines.append("")
    for port, (path, setting, text) in PORTS.items():
        protocol = _load(path)
        module = import_module(protocol.__module__)
        powers = _powers(module)
        suite = ROOT / "src" / (protocol.__module__.replace(".", "/").removesuffix("port") + "contract.py")
        lines += [f"## {port}", "", f"{text[0].upper()}{text[1:]}.", "", _paragraph(protocol), ""]
        lines += ["| | |", "|---|---|", f"| protocol | `{path.replace(':', '.')}` |"]
        room = protocol.__module__.removesuffix("port")
        lines += [f"| contract suite | {f'`{room}contract`' if suite.exists() else 'not in this version'} |"]
        lines += [
            f"| setting | {f'`{setting}`' if setting else 'none'} |",
            f"| methods | {', '.join(f'`{m}`' for m in _public(protocol))} |",
            "",
        ]
        lines += ["| engine | class |" + "".join(f" {power} |" for power in powers), "|---|---|" + "---|" * len(powers)]
        for point in found[port]:
            engine = point.load()
            marks = "".join(
                f" {'yes' if all(hasattr(engine, m) for m in _public(mixin)) else 'no'} |" for mixin in powers.values()
            )
            lines.append(f"| `{point.name}` | `{point.value.replace(':', '.')}` |{marks}")
        lines += ["", *(_lacks(port, found[port], room + "contract") if suite.exists() else [])]
    return "\n".join(lines)


def _lacks(port: str, engines: Sequence[Any], suite: str) -> list[str]:
    """What a port's engines may lack: a row a promise, and the cause where one does."""
    from millstream.base.gaps import promises

    may = promises(getattr(import_module(suite), f"{port.capitalize()}Contract", object))
    if not may:
        return []
    causes = {point.name: getattr(point.load(), "GAPS", {}) for point in engines}
    lines = ["What an engine may lack; the suite holds that it does lack it, so a row here cannot be out of date.", ""]
    lines += [f"| | {' | '.join(f'`{name}`' for name in causes)} |", "|---|" + "---|" * len(causes)]
    return [
        *lines,
        *(
            f"| {what} | {' | '.join('no: ' + gaps[what] if what in gaps else 'yes' for gaps in causes.values())} |"
            for what in may
        ),
        "",
    ]


def spark_sql() -> str:
    """What of DuckDB's dialect travels to Spark, and how: the tables of the rules."""
    from millstream.engines.spark.dialect import REFERENCE as ENTRIES

    lines = [
        "# SQL on Spark",
        "",
        MADE_BY,
        inspect.cleandoc("""
        The SQL of a project is DuckDB's, whatever runs it. On Spark it is rewritten construct by construct, by the
        rules below; the types of its results are DuckDB's. What has no rule is refused with a fix, before anything
        runs, since silence would be another meaning. `millstream check` says so for every table, and
        `millstream check --parity` compares the rows. How Spark is chosen: [Spark](../how-to/spark.md).
    """),
        "",
        "## Rewritten",
        "",
        "| DuckDB | on Spark |",
        "|---|---|",
    ]
    lines += [f"| `{_cell(entry.what)}` | {_cell(entry.becomes)} |" for entry in ENTRIES if entry.becomes]
    lines += ["", "## Refused", "", "| DuckDB | instead |", "|---|---|"]
    lines += [f"| `{_cell(entry.what)}` | {_cell(entry.fix)} |" for entry in ENTRIES if entry.fix]
    lines += [
        "",
        (
            "Everything else that SQL has in common means the same in both: select, joins, grouping, windows, CTEs, set"
            " operations, comparisons, `case`, `coalesce`, `in`, `between`, `exists`, counts, `stddev`, `corr`, `lag`,"
            " `rank` and their like."
        ),
    ]
    return "\n".join(lines)


def cluster_settings() -> str:
    """What `millstream cluster` renders that is said otherwise on a real cluster."""
    from millstream.cluster.catalogue import SERVICES
    from millstream.cluster.elsewhere import ELSEWHERE, rendered
    from millstream.cluster.service import Site

    with tempfile.TemporaryDirectory() as folder:  # secrets are drawn there; none of them is shown
        site = Site(Path(folder) / "PROJECT" / ".millstream" / "cluster", 20000, True)
        rendering = {
            name: {k: v.replace(f"{folder}/", "") for k, v in rendered(SERVICES[name], site).items()}
            for name in ELSEWHERE
        }
    lines = [
        "# Settings of a real cluster",
        "",
        MADE_BY,
        inspect.cleandoc("""
        `millstream cluster up --ha` renders the configuration below `.millstream/cluster/conf`, for one machine, for
        development and tests. Each setting that should be another one where people depend on it, beside what it is
        here. Everything that is not listed can stay. What else changes: [deploy](../deploy/README.md).
    """),
        "",
    ]
    for name, changed in ELSEWHERE.items():
        here = rendering[name]
        lines += [f"## {name}", "", "| setting | here | there | why |", "|---|---|---|---|"]
        lines += [
            f"| `{key}` | `{_cell(_local(here[key]))}` | {_cell(there)} | {_cell(why)} |"
            for key, (there, why) in changed.items()
        ]
        lines.append("")
    return "\n".join(lines)


def _local(value: str) -> str:
    """A value as it may be shown: no path of this machine, and not too long."""
    if re.match(r"(local:)?/", value):
        return "a path of this machine"
    return value if len(value) <= 60 else f"{value[:57]}…"


def _powers(module: Any) -> dict[str, type]:
    """Protocols of a port's module named `Can...`: optional powers an engine may have."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.startswith("Can") and getattr(value, "_is_protocol", False)
    }


def _paragraph(of: Any) -> str:
    return inspect.cleandoc(of.__doc__ or "").partition("\n\n")[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def values() -> str:
    """From the table that the tests ask every door by."""
    if (shared := str(ROOT / "tests" / "shared")) not in sys.path:
        sys.path.append(shared)
    return str(import_module("value_page").page())


PAGES: dict[str, Callable[[], str]] = {
    "cli": cli,
    "configuration": configuration,
    "errors": errors,
    "api": api,
    "engines": engines,
    "spark-sql": spark_sql,
    "cluster-settings": cluster_settings,
    "values": values,
}


def pages(names: Iterable[str] = PAGES) -> dict[Path, str]:
    """File -> the text it should hold."""
    return {REFERENCE / f"{name}.md": re.sub(r"\n{3,}", "\n\n", PAGES[name]()).rstrip() + "\n" for name in names}


def stale(made: dict[Path, str]) -> list[Path]:
    """Files that hold another text, or are not there."""
    return [file for file, text in made.items() if not file.exists() or file.read_text(encoding="utf-8") != text]


def main(args: Sequence[str]) -> int:
    made = pages()
    for file in (old := stale(made)):
        if "--check" not in args:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(made[file], encoding="utf-8")
        print(f"{'stale' if '--check' in args else 'written'}  {file.relative_to(ROOT)}")
    return 1 if old and "--check" in args else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
