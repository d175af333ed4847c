"""Airflow's REST API, version 2: requests with a token, and its errors as ours."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from millstream.base.errors import ConfigError, NotFound, Unreachable, UsageError, WorkFailed

_TIMEOUT_S = 30.0


class Rest:
    """Of one server. Safe for threads.

    Args:
        base: "http://host:port".
    """

    def __init__(self, base: str, user: str, password: str) -> None:
        self.base, self._user, self._password = base, user, password
        self._token = ""

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, accept: str = "application/json"
    ) -> Any:
        """What `/api/v2` + path answers: JSON, or text when that is accepted.

        Raises:
            NotFound: It knows no such thing.
            UsageError: It refuses the request as it is.
            ConfigError: It does not let the user in.
            Unreachable: It does not answer, or not now.
        """
        for last in (False, True):
            if not self._token:
                self._token = self._login()
            try:
                return self._send(
                    method, f"/api/v2{path}", body, {"Authorization": f"Bearer {self._token}", "Accept": accept}
                )
            except _Refused:  # tokens grow old
                self._token = ""
                if last:
                    raise ConfigError(
                        f"Airflow at {self.base} refuses the token of user {self._user}; look at the user's role"
                    ) from None
        raise AssertionError("one of the two ends it")

    def _login(self) -> str:
        try:
            told = self._send(
                "POST",
                "/auth/token",
                {"username": self._user, "password": self._password},
                {"Accept": "application/json"},
            )
        except _Refused:
            raise ConfigError(
                f"Airflow at {self.base} does not know user {self._user} by this password; see the setting orchestrator"
            ) from None
        return str(told["access_token"])

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base + path, data, {"Content-Type": "application/json", **headers}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise self._error_of(error, f"{method} {path}") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"Airflow at {self.base} does not answer: {getattr(error, 'reason', error)}") from error
        return (json.loads(text) if text else None) if headers["Accept"] == "application/json" else text.decode()

    def _error_of(self, error: urllib.error.HTTPError, what: str) -> Exception:
        said = error.read().decode(errors="replace")[:500]
        if error.code in (401, 403):
            return _Refused()
        if error.code == 404:
            return NotFound(f"Airflow at {self.base} knows no such thing ({what}): {said}")
        if error.code in (429, 502, 503, 504):
            return Unreachable(f"Airflow at {self.base} does not answer now ({error.code})")
        if error.code < 500:
            return UsageError(f"Airflow at {self.base} refuses {what} ({error.code}): {said}")
        return WorkFailed(f"Airflow at {self.base} failed at {what} ({error.code}): {said}")


class _Refused(Exception):
    """401 or 403."""


def quoted(name: str) -> str:
    """A name as a part of a path."""
    return urllib.parse.quote(name, safe="")
