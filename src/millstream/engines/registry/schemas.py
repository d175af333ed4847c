"""A schema registry, as the store of schemas: the Confluent REST API, which Confluent's, Apicurio's and Karapace speak.

The URL is that of the API: `http://registry:8081`, `https://user:PASSWORD@host/apis/ccompat/v7`. A subject is the
stream's name, and its compatibility level is set to the stream's contract, so that the registry holds foreign producers
to it too.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from millstream.base.errors import ConfigError, Incompatible, MillstreamError, NotFound, Terminal, Unreachable
from millstream.log.schemas import check

TIMEOUT_S, TRIES, PAUSE_S = 10.0, 4, 0.5
_TYPE = "application/vnd.schemaregistry.v1+json"
_ABSENT, _CONFLICT = 404, 409


class RegistrySchemas:
    """The schemas of a registry. Safe for several threads."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.address = urllib.parse.urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._headers = {"Content-Type": _TYPE, "Accept": f"{_TYPE}, application/json"}
        if parts.username is not None:
            who = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(who.encode()).decode()
        self._texts: dict[int, str] = {}
        self._ids: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()

    def register(self, subject: str, schema: str, compatibility: str = "backward") -> int:
        at, known = f"/subjects/{_quoted(subject)}", self.versions(subject)
        if known:
            schema = json.dumps(named_alike(json.loads(schema), json.loads(self.schema(known[-1]))))
        found = self._ask("POST", at, {"schema": schema}, missing=True)
        if found is not None:
            return int(found["id"])
        check(compatibility, schema, [self.schema(one) for one in known], subject=subject)
        self._rule(subject, compatibility)
        return int(self._ask("POST", f"{at}/versions", {"schema": schema})["id"])

    def _rule(self, subject: str, compatibility: str) -> None:
        """Of two who say a subject's first rule at once, a registry may refuse one; by then there is one, which is said
        anew.
        """
        for last in (False, True):
            try:
                self._ask("PUT", f"/config/{_quoted(subject)}", {"compatibility": compatibility.upper()})
                return
            except Incompatible as error:
                if last or "already exists" not in str(error):
                    raise

    def schema(self, schema_id: int) -> str:
        with self._lock:
            known = self._texts.get(schema_id)
        if known is None:
            found = self._ask("GET", f"/schemas/ids/{schema_id}", missing=True)
            if found is None:
                raise NotFound(f"no schema {schema_id} in the registry {self.address}")
            known = str(found["schema"])
            with self._lock:
                self._texts[schema_id] = known
        return known

    def versions(self, subject: str) -> list[int]:
        at = f"/subjects/{_quoted(subject)}/versions"
        return [self._id_of(subject, int(number)) for number in self._ask("GET", at, missing=True) or []]

    def _id_of(self, subject: str, number: int) -> int:
        if (subject, number) not in self._ids:
            found = self._ask("GET", f"/subjects/{_quoted(subject)}/versions/{number}")
            self._ids[subject, number] = int(found["id"])
        return self._ids[subject, number]

    def _ask(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> Any:
        """The answer; None where there is nothing of the kind and that is `missing`. Asked again while the registry is
        away.
        """
        for tries in range(TRIES):
            try:
                return self._once(method, path, body)
            except NotFound:
                if missing:
                    return None
                raise
            except Unreachable:
                if tries == TRIES - 1:
                    raise
                time.sleep(PAUSE_S * 2**tries)
        raise AssertionError

    def _once(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, self._headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise self._error_of(error, method, path) from error
        except (OSError, ValueError) as error:
            if isinstance(getattr(error, "reason", None), ssl.SSLError):
                raise ConfigError(
                    f"the registry {self.address} is not trusted: {error}; SSL_CERT_FILE names the authority"
                ) from error
            raise Unreachable(f"the registry {self.address} does not answer: {error}") from error

    def _error_of(self, error: urllib.error.HTTPError, method: str, path: str) -> MillstreamError:
        text = error.read().decode(errors="replace")
        try:
            said = str(json.loads(text)["message"])
        except (ValueError, KeyError, TypeError):
            said = text[:200]
        what = f"{method} {self.address}{path}: {error.code} {said}"
        if error.code == _ABSENT:
            return NotFound(what)
        if error.code == _CONFLICT:
            return Incompatible(what)
        if error.code in (401, 403):
            return ConfigError(f"{what}; see user and password in the URL of `registry`")
        if error.code in (408, 429) or error.code >= 500:
            return Unreachable(what)
        return Terminal(what)

    def close(self) -> None:
        """Nothing is held."""


def named_alike(new: Any, old: Any) -> Any:
    """The new schema, its types named as the old one's at the same places.

    A registry holds a record's name to be part of it, and an enum's; here they are names of Python classes, which may
    change.

    >>> old = {"type": "record", "name": "Visit", "fields": []}
    >>> named_alike({"type": "record", "name": "Visited", "fields": []}, old)
    {'type': 'record', 'name': 'Visit', 'fields': []}
    """
    if isinstance(new, list) and isinstance(old, list):
        return [
            next((named_alike(branch, other) for other in old if _kind(other) == _kind(branch)), branch)
            for branch in new
        ]
    if not isinstance(new, dict) or not isinstance(old, dict) or _kind(new) != _kind(old):
        return new
    made = {**new, **{key: named_alike(new[key], old.get(key)) for key in ("items", "values", "type") if key in new}}
    if "name" in old and _kind(new) in ("record", "enum", "fixed"):
        made["name"] = old["name"]
    if "fields" in new:
        others = {field["name"]: field for field in old.get("fields", ())}
        made["fields"] = [
            {**f, "type": named_alike(f["type"], others.get(f["name"], {}).get("type"))} for f in new["fields"]
        ]
    return made


def _kind(schema: Any) -> Any:
    return schema.get("type") if isinstance(schema, dict) else schema


def _quoted(subject: str) -> str:
    return urllib.parse.quote(subject, safe="")
