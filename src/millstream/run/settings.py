"""Files, environment and flags into settings: the only place that reads them.

Precedence: flag (`--set key=value`) > `MILLSTREAM_*` > `[profile.NAME]` > sections of millstream.toml > default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millstream.base.errors import ConfigError
from millstream.base.registry import unknown
from millstream.base.settings import DEFAULTS, Layer, Settings, flatten, settle
from millstream.base.words import nearest, short
from millstream.declare.toml import FILE, line_of

__all__ = ["Settings", "read"]

_PREFIX = "MILLSTREAM_"
_OTHERS = ("MILLSTREAM_PROFILE", "MILLSTREAM_DEBUG", "MILLSTREAM_PROJECT", "MILLSTREAM_CLUSTER")
_BASE = ("serve", "console", "alerts", "cluster")
_DEFAULT_PROFILE = "laptop"


def read(
    root: Path,
    *,
    profile: str | None = None,
    flags: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    secrets: bool = True,
) -> Settings:
    """The settings of the project in a folder.

    Args:
        profile: A name below `[profile]`; else MILLSTREAM_PROFILE, else "laptop", which needs no section.
        flags: Key -> value, of the command line.
        environment: `os.environ`, or another in tests.
        secrets: Look up what references stand for; else they stay as they are, since what they refer to may be made
            only by what is asked for.

    Raises:
        ConfigError: Every wrong setting, with where it stands.
    """
    environment, flags = environment or {}, dict(flags or {})
    text, told = _file(root / FILE)
    profiles = told.get("profile", {})
    for section, value in [
        *((key, told[key]) for key in (*_BASE, "profile") if key in told),
        *(profiles.items() if isinstance(profiles, Mapping) else ()),
    ]:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{FILE}: {section} is a section; it is {short(value)}    E195")
    name, origin = _profile(profile, environment)
    if name not in profiles and name != _DEFAULT_PROFILE:
        raise ConfigError(
            f'no profile "{name}" ({origin}); looked in {root / FILE}:'
            f" {nearest(name, profiles) or 'it has ' + (', '.join(profiles) or 'none')}    E195"
        )
    named = _named(environment)
    layers = [
        Layer(
            "base",
            flatten({k: told[k] for k in _BASE if k in told}),
            lambda key: f"{FILE} [{key.partition('.')[0]}]",
            place=lambda key: f"{FILE}:{line_of(text, '', key)} [{key.partition('.')[0]}]",
        ),
        Layer(
            "profile",
            flatten(profiles.get(name, {})),
            lambda key: f"{FILE} [profile.{name}]",
            place=lambda key: f"{FILE}:{line_of(text, f'profile.{name}', key)} [profile.{name}]",
        ),
        Layer(
            "environment",
            {key: environment[variable] for key, variable in named.items()},
            lambda key: named[key],
            literal_secrets=True,
        ),
        Layer("flags", flags, lambda key: f"--set {key}"),
    ]

    def secret(reference: str) -> str | None:
        return _secret(reference, root, environment) if secrets else reference

    return settle(root, layers, profile=name, profile_origin=origin, flags=flags, secret=secret, engine=unknown)


def _file(file: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def _profile(flag: str | None, environment: Mapping[str, str]) -> tuple[str, str]:
    if flag:
        return flag, "--profile"
    if environment.get("MILLSTREAM_PROFILE"):
        return environment["MILLSTREAM_PROFILE"], "MILLSTREAM_PROFILE"
    return _DEFAULT_PROFILE, "default"


def _named(environment: Mapping[str, str]) -> dict[str, str]:
    """Key -> the variable that sets it."""
    variables = {_PREFIX + key.replace(".", "_").upper(): key for key in DEFAULTS}
    unknown = sorted(v for v in environment if v.startswith(_PREFIX) and v not in variables and v not in _OTHERS)
    if unknown:
        raise ConfigError(
            "\n".join(
                f"{v}: no setting is called so; {nearest(v, variables) or 'see millstream config'}    E195"
                for v in unknown
            )
        )
    return {key: variable for variable, key in variables.items() if variable in environment}


def _secret(reference: str, root: Path, environment: Mapping[str, str]) -> str | None:
    where, _, name = reference.partition(":")
    if where == "env":
        return environment.get(name)
    try:
        return (root / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
