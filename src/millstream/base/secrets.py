"""What must not be read in an error, a log line or a page: the one function that takes secrets out of a text.

It knows secrets by their value, where a setting has it (`keep`), and by their shape, where a library puts an address
into its own message. It rather hides too much: a message without a password is still a message.
"""

from __future__ import annotations

import re
import urllib.parse

HIDDEN = "(hidden)"
_SHORT = 4
"""Values shorter than this are known by their shape only: they would be found in words."""
_KEYS = r"api[_-]?key|access[_-]?key|account[_-]?key|private[_-]?key"
_NAMES = rf"pass(?:word|wd|phrase)?|pwd|token|secret|{_KEYS}|credentials?|signature|client[_-]?secret"
_NOT_SAID = rf"(?!env:|file:|{re.escape(HIDDEN)})"
"""A reference is not a secret, and what is hidden already stays as it is."""
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    # Addresses of chat rooms: whoever has the path may post.
    (
        re.compile(
            rf"(\b(?:hooks\.slack\.com|[\w.-]*webhook\.office\.com|outlook\.office\.com|[\w.-]*\.logic\.azure\.com(?::\d+)?)/){_NOT_SAID}[^\s'\"<>)]+"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(rf"(https?://[^\s'\"<>?]*?/(?:web)?hooks?/){_NOT_SAID}[^\s'\"<>)]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"(\bapi\.telegram\.org/bot){_NOT_SAID}[^\s'\"<>)/]+"), rf"\1{HIDDEN}"),
    # scheme://user:password@host, a password with "/" or "@" in it too; but not host:port/path@version.
    (re.compile(rf"(?<=://)([^\s/@:'\"]*):{_NOT_SAID}[^\s/@'\"]*@(?![^\s/'\"]*@)"), rf"\1:{HIDDEN}@"),
    (re.compile(rf"(?<=://)([^\s/@:'\"]*):(?!\d+[/?#,]){_NOT_SAID}[^\s'\"]*@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"(?<=https://)[^\s/@:'\"]{12,}@|(?<=http://)[^\s/@:'\"]{12,}@"), f"{HIDDEN}@"),
    # name=value, "name": "value": in queries, connection strings, properties, JSON.
    (
        re.compile(
            rf"(?i)([?&;](?:[\w.%-]{{0,40}}(?:{_NAMES}|auth|authorization)[\w-]*|key|sig|code|jwt)=){_NOT_SAID}[^\s&;#'\"<>)]+?(?=[:.,]?(?:[\s&;#'\"<>)]|\Z))"
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            rf"(?i)(\b[\w.-]{{0,40}}(?:{_NAMES})[\w-]{{0,40}}['\"]?\s?[=:]\s?)(['\"])(?!\2){_NOT_SAID}(?:(?!\2).)+\2"
        ),
        rf"\1\2{HIDDEN}\2",
    ),
    (re.compile(rf"(?i)(\b[\w.-]{{0,40}}(?:{_NAMES})[\w-]{{0,40}}=){_NOT_SAID}[^\s,;&'\"<>)\]}}]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic|apikey)(\s+)[\w.~+/=-]{8,}"), rf"\1\2{HIDDEN}"),
    # Tokens that say what they are.
    (
        re.compile(
            r"\b(?:gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{8,}|AKIA[0-9A-Z]{16}|sk-[\w-]{16,}|hf_\w{16,})"
        ),
        HIDDEN,
    ),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"), HIDDEN),
)
_known: dict[str, re.Pattern[str]] = {}


def hide(text: str) -> str:
    """The text without secrets; `(hidden)` stands where they were. Hiding twice is hiding once.

    >>> hide("cannot reach kafka://alice:s3cr3t@broker:9093")
    'cannot reach kafka://alice:(hidden)@broker:9093'
    >>> hide("GET http://mlflow:5000/api?run=7&token=abcdef: 403"), hide("alerts go to env:SHOP_HOOK")
    ('GET http://mlflow:5000/api?run=7&token=(hidden): 403', 'alerts go to env:SHOP_HOOK')
    """
    for pattern in list(_known.values()):
        text = pattern.sub(HIDDEN, text)
    for pattern, instead in _SHAPES:
        text = pattern.sub(instead, text)
    return text


def keep(value: str) -> None:
    """Hide this value from now on, and how libraries spell it: percent-encoded, quoted, and the parts of an address
    that identify nobody but its holder.
    """
    for secret in _spellings(value):
        if len(secret) >= _SHORT and secret not in _known:
            _known[secret] = _pattern(secret)
    for secret in sorted(_known, key=len, reverse=True):  # the whole before its parts
        _known[secret] = _known.pop(secret)


def keep_address(url: str) -> None:
    """Hide an address whose path and query are secret, as a webhook's are; its scheme and host may be read."""
    keep(url)
    rest = re.sub(r"^\w+://[^/?#]*", "", url)
    if len(rest) > 1:
        keep(rest)
    for part in re.split(r"[/?#&=@:\s]+", rest):
        if len(part) >= 8:
            keep(part)
    keep_password(url)


def keep_password(url: str) -> None:
    """Hide the password of an address."""
    found = re.search(r"://[^/@:]*:([^/@]+)@", url) or re.search(r"://[^/@:]*:(?!\d+[/?#,])(.+)@", url)
    if found is not None and not found[1].startswith(("env:", "file:", HIDDEN)):
        keep(found[1])
        # Where it is not percent-encoded, libraries end the address inside it
        for part in re.split(r"[/?#@]", found[1])[:-1]:
            keep(part)


def _spellings(value: str) -> set[str]:
    plain = urllib.parse.unquote(value)
    found = {
        value,
        plain,
        urllib.parse.quote(plain, safe="", errors="replace"),
        urllib.parse.quote(plain, errors="replace"),
        repr(plain)[1:-1],
        value.strip(),
    }
    return {text for text in found if text}


def _pattern(secret: str) -> re.Pattern[str]:
    """A plain word is hidden only where it stands as a value: a password may be the name of a thing, too."""
    if re.fullmatch(r"[a-z]+", secret):
        return re.compile(rf"(?<=[:='\"/]){re.escape(secret)}(?=[@'\"\s,;&]|\Z)|\b{re.escape(secret)}(?=@)")
    before, after = (r"(?<!\w)" if secret[0].isalnum() else "", r"(?!\w)" if secret[-1].isalnum() else "")
    return re.compile(f"{before}{re.escape(secret)}{after}")
