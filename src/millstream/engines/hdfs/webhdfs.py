"""Erasure coding policies of folders, over the namenode's HTTP side: no call of hdfs-native sets one."""

from __future__ import annotations

import getpass
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from millstream.base.errors import ConfigError, Unreachable

_TIMEOUT_S = 10.0


def set_policy(namenodes: Sequence[str], path: str, policy: str) -> None:
    """Give an existing folder an erasure coding policy; files made in it from now on have it. The same again is fine.

    Raises:
        ConfigError: The policy is not enabled, this user may not, or the namenode asks for Kerberos.
        Unreachable: No namenode answers as the active one.
    """
    query = urlencode(
        {"op": "SETECPOLICY", "ecpolicy": policy, "user.name": os.environ.get("HADOOP_USER_NAME") or getpass.getuser()}
    )
    said = "none is configured"
    for namenode in namenodes:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"http://{namenode}/webhdfs/v1{quote(path)}?{query}", method="PUT"),
                timeout=_TIMEOUT_S,
            ):
                return
        except urllib.error.HTTPError as error:
            kind, said = _refusal(error)
            if kind not in ("StandbyException", "RetriableException", "SafeModeException"):
                by_hand = f"hdfs dfs -mkdir -p {path} && hdfs ec -setPolicy -path {path} -policy {policy}"
                raise ConfigError(
                    f"erasure coding {policy} of {path}: {said}; an administrator can do it: {by_hand}, and the option"
                    " is left out"
                ) from error
        except (OSError, http.client.HTTPException) as error:
            said = f"{namenode}: {error}"
    raise Unreachable(
        f"no namenode takes the erasure coding policy of {path} over HTTP ({', '.join(namenodes) or 'no address'}):"
        f" {said}"
    )


def _refusal(error: urllib.error.HTTPError) -> tuple[str, str]:
    try:
        found = json.load(error)["RemoteException"]
        return str(found["exception"]), str(found["message"]).partition("\n")[0]
    except (ValueError, KeyError, TypeError):
        return "", f"{error.code} {error.reason}"
