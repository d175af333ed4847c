"""PostgreSQL, as the store of documents and leases: `postgresql://USER@HOST:PORT/DATABASE`; `?schema=NAME` keeps
several projects apart in one database.

A write carries an id of its own, so that one whose answer was lost on the way can be asked for again: it was done when
its id is there.
"""

from __future__ import annotations

import builtins
import json
import re
import urllib.parse
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from millstream.base.errors import ConfigError, Conflict, Incompatible, UsageError
from millstream.engines.postgres.server import Connection, Server
from millstream.state.port import Doc

FORMAT = 1
_MADE = "select to_regclass('{schema}.format') is not null"
# `seq` orders writes across documents; keys are in the order of their characters, whatever the database's language.
_TABLES = """
create schema if not exists {schema};
create table {schema}.format(version integer not null);
insert into {schema}.format values ({format});
create sequence {schema}.written;
create table {schema}.doc(kind text collate "C", key text collate "C", revision integer not null,
  seq bigint not null default nextval('{schema}.written'), written_at timestamptz not null default clock_timestamp(),
  value text not null, write_id uuid not null, primary key (kind, key));
create index doc_newest on {schema}.doc(kind, seq);
create table {schema}.lease(name text primary key, owner text not null, until timestamptz not null);
"""
_INSERT = (
    "insert into {schema}.doc(kind, key, revision, value, write_id) values (%(kind)s, %(key)s, 1, %(value)s, %(id)s) on"
    " conflict (kind, key) do "
)
_SET = "set revision = doc.revision + 1, seq = nextval('{schema}.written'), written_at = clock_timestamp(), "
_COLUMNS = "kind, key, revision, written_at, value"


class PostgresState:
    """The state in a schema of a database, made when it is not there (`millstream` unless the URL says another).

    A call rides through a restart of the server when that takes no longer than `wait_s`: it is made again. A plain
    `put` that had been done by then counts as two writes; one with `expect` is never done twice.
    """

    def __init__(self, url: str, *, wait_s: float = 10.0) -> None:
        parts = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parts.query))
        self._schema = query.pop("schema", "millstream")
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", self._schema):
            raise ConfigError(
                f'state: schema={self._schema} is not a name of a schema; use small letters, digits and "_"'
            )
        self._server = Server(
            parts._replace(query=urllib.parse.urlencode(query)).geturl(), setting="state", wait_s=wait_s
        )
        self._server.run(self._prepare)

    def _prepare(self, con: Connection) -> None:
        with con.transaction():
            # Two that make the same tables at once get in each other's way
            con.execute("select pg_advisory_xact_lock(hashtext('millstream'))")
            (made,) = con.execute(self._sql(_MADE)).fetchone() or ()
            if not made:
                con.execute(self._sql(_TABLES))
            (found,) = con.execute(self._sql("select version from {schema}.format")).fetchone() or ()
        if found != FORMAT:
            raise Incompatible(
                f"schema {self._schema} of {self._server.name} has format {found}, and this Millstream reads {FORMAT}"
            )

    def _sql(self, text: str) -> str:
        return text.format(schema=self._schema, format=FORMAT)

    def put(self, kind: str, key: str, value: Mapping[str, Any], *, expect: int | None = None) -> Doc:
        text = _text(kind, key, value)
        if expect is None:
            sql = _INSERT + "update " + _SET + "value = excluded.value, write_id = excluded.write_id"
        elif expect == 0:
            sql = _INSERT + "nothing"
        else:
            sql = (
                "update {schema}.doc "
                + _SET
                + "value = %(value)s, write_id = %(id)s where kind = %(kind)s and key = %(key)s and revision ="
                " %(expect)s"
            )
        given = {"kind": kind, "key": key, "value": text, "id": uuid.uuid4(), "expect": expect}

        def work(con: Connection) -> Doc:
            row = con.execute(self._sql(f"{sql} returning {_COLUMNS}"), given).fetchone()
            if row is None:
                row = con.execute(
                    self._sql(
                        f"select {_COLUMNS}, write_id from {{schema}}.doc where kind = %(kind)s and key = %(key)s"
                    ),
                    given,
                ).fetchone()
                if row is None or row[-1] != given["id"]:
                    raise Conflict(
                        f'{kind} "{key}" is at revision {row[2] if row else 0}, not {expect}: someone else wrote it;'
                        " read it again and decide anew"
                    )
            return _doc(row)

        return self._server.run(work)

    def get(self, kind: str, key: str) -> Doc | None:
        rows = self._rows(f"select {_COLUMNS} from {{schema}}.doc where kind = %s and key = %s", kind, key)
        return _doc(rows[0]) if rows else None

    def list(
        self, kind: str, *, prefix: str = "", limit: int | None = None, newest: bool = False
    ) -> builtins.list[Doc]:
        order = "seq desc" if newest else "key"
        sql = (
            f"select {_COLUMNS} from {{schema}}.doc where kind = %s and starts_with(key, %s) order by {order} limit %s"
        )
        return [_doc(row) for row in self._rows(sql, kind, prefix, limit)]

    def delete(self, kind: str, key: str) -> None:
        self._done("delete from {schema}.doc where kind = %s and key = %s", kind, key)

    def lease(self, name: str, owner: str, length: timedelta) -> bool:
        return bool(
            self._rows(
                "insert into {schema}.lease as held values (%s, %s, clock_timestamp() + %s) on conflict (name) do"
                " update set owner = excluded.owner, until = excluded.until where held.owner = excluded.owner or"
                " held.until <= clock_timestamp() returning owner",
                name,
                owner,
                length,
            )
        )

    def release(self, name: str, owner: str) -> None:
        self._done("delete from {schema}.lease where name = %s and owner = %s", name, owner)

    def close(self) -> None:
        self._server.drop()

    def _rows(self, sql: str, *values: object) -> builtins.list[tuple[Any, ...]]:
        return self._server.run(lambda con: con.execute(self._sql(sql), values).fetchall())

    def _done(self, sql: str, *values: object) -> None:
        self._server.run(lambda con: con.execute(self._sql(sql), values))


def _text(kind: str, key: str, value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f'{kind} "{key}" cannot be kept as JSON: {error}; give numbers, texts, booleans, None, lists and mappings'
            " of these"
        ) from None


def _doc(row: tuple[Any, ...]) -> Doc:
    kind, key, revision, written_at, text = row[:5]
    at: datetime = written_at
    return Doc(kind, key, revision, at.astimezone(UTC), json.loads(text))


__all__ = ["PostgresState"]
