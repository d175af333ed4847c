"""Names that a field cannot have: words of SQL in either dialect, and names that Millstream needs for itself."""

from __future__ import annotations

import re

NAME = re.compile(r"[a-z][a-z0-9_]*")

# Measured with DuckDB 2.0: `create table t("w" int)`, then `select w, max(w) from t where w > 1 group by w order by w` does not parse.
DUCKDB = frozenset(["all", "analyse", "analyze", "and", "anti", "any", "array", "as", "asc", "asof", "asymmetric", "at", "authorization", "binary", "both", "by", "case", "cast", "check", "collate", "collation", "column", "concurrently", "constraint", "create", "cross", "default", "deferrable", "desc", "describe", "distinct", "do", "else", "end", "except", "false", "fetch", "for", "foreign", "freeze", "from", "full", "glob", "group", "having", "ilike", "in", "initially", "inner", "intersect", "into", "is", "isnull", "join", "lambda", "lateral", "leading", "left", "like", "limit", "natural", "not", "notnull", "null", "offset", "on", "only", "or", "order", "outer", "overlaps", "pivot", "pivot_longer", "pivot_wider", "placing", "positional", "primary", "qualify", "references", "returning", "right", "select", "semi", "show", "similar", "some", "summarize", "symmetric", "table", "tablesample", "then", "to", "trailing", "true", "union", "unique", "unpack", "unpivot", "using", "variadic", "verbose", "when", "where", "window", "with"])  # fmt: skip
# Spark's strict non-reserved words, beyond those above.
SPARK = frozenset(["minus", "setminus"])


def dialect(word: str) -> str | None:
    """The dialect in which a column of this name does not parse, or None."""
    word = word.lower()
    return "DuckDB" if word in DUCKDB else "Spark" if word in SPARK else None
