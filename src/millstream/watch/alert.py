"""Alerts: a log line and a webhook, once when an episode begins and once when it ends.

A webhook is somebody else's server: it may be away, slow, or no web server at all. None of that costs a monitor its
verdict, or the next alert more than a look. Its address is a secret, and is in no message.
"""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from millstream.base.floats import named
from millstream.base.secrets import hide, keep_address
from millstream.base.waits import Waits
from millstream.declare.monitor import Monitor
from millstream.watch.verdict import Verdict

log = logging.getLogger("millstream.watch")
LEVELS = {"info": logging.INFO, "warn": logging.WARNING, "page": logging.ERROR}
TIMEOUT_S = 5.0
WHOLE_S = 10.0
"""The longest an alert may take: one that answers a byte a second never times out by itself."""
_NAME = "webhook"


def message(monitor: Monitor, verdict: Verdict, event: str, opened_us: int, project: str = "") -> dict[str, Any]:
    """What a webhook is sent; `text` alone is enough for a chat.

    Args:
        event: "opened" or "recovered".
    """
    mark = "recovered" if event == "recovered" else verdict.status
    return {
        "event": event,
        "project": project,
        "monitor": monitor.name,
        "target": str(monitor.target),
        "severity": monitor.severity,
        "opened_us": opened_us,
        "text": hide(f"{monitor.target}: {verdict.check} {mark}: {verdict.message}"),
        "verdict": verdict.json(),
    }


def announce(told: Mapping[str, Any]) -> None:
    """Log it."""
    log.log(logging.INFO if told["event"] == "recovered" else LEVELS[str(told["severity"])], "%s", told["text"])


class Webhook:
    """Where alerts are posted to as JSON. After a failure the next tries wait, each twice as long, so that a dead one
    costs seconds and no verdict.

    Args:
        url: None posts nothing, and all is well.
        whole_s: The longest that one post may take.

    Attributes:
        trouble: Why it did not take the last alert, "" when it did.
    """

    def __init__(self, url: str | None, *, waits: Waits | None = None, whole_s: float = WHOLE_S) -> None:
        self.url, self.waits, self.whole_s, self.trouble = url, waits or Waits(first_s=15.0, most_s=600.0), whole_s, ""
        if url is not None:
            keep_address(url)

    @property
    def again_s(self) -> float:
        """Until the next post; 0 when it may be made now."""
        return self.waits.left_s(_NAME)

    def post(self, told: Mapping[str, Any]) -> bool:
        """False when it was not taken, or the webhook waits after a failure: the alert is to be sent again later. Never
        raises.
        """
        if self.url is None:
            return True
        if not self.waits.due(_NAME):
            return False
        why = self._posted(self.url, json.dumps(named(dict(told)), default=str).encode())
        if why:
            self.trouble = f"the alert webhook (alerts.webhook) did not take the alert: {hide(why)}"
            if self.waits.failed(_NAME, self.trouble).news:
                log.warning("%s; it is sent again later", self.trouble)
        else:
            self.trouble = ""
            self.waits.well(_NAME)
        return not why

    def _posted(self, url: str, body: bytes) -> str:
        """Why it was not taken, "" when it was. The name of the host may be looked up for as long as the system likes,
        so this thread does not.
        """
        if not url.startswith(("http://", "https://")):
            return "it is not an http:// or https:// address; set alerts.webhook to one"
        sockets, found = list[socket.socket](), list[str]()
        thread = threading.Thread(target=lambda: found.append(_post(url, body, sockets)), name="alert", daemon=True)
        thread.start()
        thread.join(self.whole_s)
        if found:
            return found[0]
        for one in list(sockets):  # ends the thread too
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        return f"no whole answer within {self.whole_s:g} s"


def _post(url: str, body: bytes, sockets: list[socket.socket]) -> str:
    """Why it was not taken, "" when it was."""
    try:
        request = urllib.request.Request(url, body, {"content-type": "application/json"}, method="POST")
        with _opener(sockets).open(request, timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        if 300 <= error.code < 400:
            return (
                f"it answered {error.code}, a redirect, which would lose the alert; set alerts.webhook to where that"
                " leads"
            )
        return f"it answered {error.code}"
    except http.client.InvalidURL:
        return "its address is not a valid URL; set alerts.webhook to one"
    except http.client.HTTPException as error:
        return f"it does not speak HTTP ({type(error).__name__}); is there another server at that address?"
    except urllib.error.URLError as error:
        return str(error.reason)
    except ValueError:
        return "its address is not a valid URL; set alerts.webhook to one"
    except Exception as error:  # whatever a stranger's server makes a library do
        return f"{type(error).__name__}: {error}" if not isinstance(error, OSError) else str(error)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST becomes a GET without its body: a login page would pass for a delivery."""

    def redirect_request(self, *args: Any, **more: Any) -> None:
        return None


def _opener(sockets: list[socket.socket]) -> urllib.request.OpenerDirector:
    """Opens as `urlopen` does, proxies too, and tells its sockets."""

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    class Secure(http.client.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    class OverPlain(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(Plain, request)

    class OverSecure(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(Secure, request)

    return urllib.request.build_opener(OverPlain, OverSecure, _NoRedirect)
