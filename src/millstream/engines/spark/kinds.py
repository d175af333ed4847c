"""DuckDB's types by name, and as Spark's."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.expressions import DataType

from millstream.engines.spark.rules import Refused

TZ = "TIMESTAMP WITH TIME ZONE"
NAIVE = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
SMALL = ("TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER")
WIDE = ("BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT")
FLOATS = ("FLOAT", "DOUBLE")
T = DataType.Type
_SPARK = {
    T.BOOLEAN: "BOOLEAN",
    T.TINYINT: "TINYINT",
    T.SMALLINT: "SMALLINT",
    T.INT: "INT",
    T.BIGINT: "BIGINT",
    T.INT128: "DECIMAL(38,0)",
    T.UINT128: "DECIMAL(38,0)",
    T.UTINYINT: "SMALLINT",
    T.USMALLINT: "INT",
    T.UINT: "BIGINT",
    T.UBIGINT: "DECIMAL(20,0)",
    T.FLOAT: "FLOAT",
    T.DOUBLE: "DOUBLE",
    T.TEXT: "STRING",
    T.VARCHAR: "STRING",
    T.CHAR: "STRING",
    T.BLOB: "BINARY",
    T.VARBINARY: "BINARY",
    T.BINARY: "BINARY",
    T.DATE: "DATE",
    T.TIMESTAMP: "TIMESTAMP_NTZ",
    T.TIMESTAMPNTZ: "TIMESTAMP_NTZ",
    T.TIMESTAMP_S: "TIMESTAMP_NTZ",
    T.TIMESTAMP_MS: "TIMESTAMP_NTZ",
    T.TIMESTAMPTZ: "TIMESTAMP",
    T.TIMESTAMPLTZ: "TIMESTAMP",
}


def is_whole(kind: str) -> bool:
    return kind in SMALL or kind in WIDE


def is_decimal(kind: str) -> bool:
    return kind.startswith("DECIMAL")


def is_number(kind: str) -> bool:
    return is_whole(kind) or kind in FLOATS or is_decimal(kind)


def is_time(kind: str) -> bool:
    return kind == TZ or kind in NAIVE or kind == "DATE"


def is_list(kind: str) -> bool:
    return kind.endswith("]")


def spark_type(kind: DataType | str) -> str:
    """Spark's spelling of a type of DuckDB. Integers of 128 bits are DECIMAL(38,0): what does not fit is an error,
    never another number.

    >>> spark_type("HUGEINT"), spark_type("TIMESTAMP WITH TIME ZONE"), spark_type("STRUCT(a INTEGER[])")
    ('DECIMAL(38,0)', 'TIMESTAMP', 'STRUCT<`a`: ARRAY<INT>>')

    Raises:
        Refused: Spark has no such type.
    """
    if isinstance(kind, str):  # NULL has a type of its own until it meets another
        kind = DataType.build("INTEGER" if kind.strip('"') == "NULL" else kind, dialect="duckdb")
    of = kind.this
    if of in _SPARK:
        return _SPARK[of]
    if of == T.DECIMAL:
        sizes = [part.name for part in kind.expressions] or ["18", "3"]
        return f"DECIMAL({','.join(sizes)})"
    if of in (T.ARRAY, T.LIST):
        return f"ARRAY<{spark_type(kind.expressions[0])}>"
    if of == T.MAP:
        return f"MAP<{spark_type(kind.expressions[0])}, {spark_type(kind.expressions[1])}>"
    if of == T.STRUCT and all(isinstance(part, exp.ColumnDef) for part in kind.expressions):
        return (
            "STRUCT<"
            + ", ".join(f"{quoted(part.name)}: {spark_type(part.args['kind'])}" for part in kind.expressions)
            + ">"
        )
    raise Refused(
        f"{kind.sql('duckdb')} is not a type of Spark; cast it to a number, text, date, time, list, struct or map"
    )


def quoted(name: str) -> str:
    """An identifier of Spark."""
    return "`" + name.replace("`", "``") + "`"
