"""What must not be said: credentials in settings, and in every URL that a text contains.

Every error that a caller is told (`common/errors.py`), every reason of a health check and every line of the log except
the access lines passes through `redacted`. It removes two things: user information and parameters of any URL, and
the secrets of this process by their value, wherever a library may repeat them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, quote, unquote

HIDDEN = "***"
LEAST_LENGTH = 6  # characters; a shorter secret is part of ordinary words, and hiding those would tell it
_PARAMETER = r"[;#](?=[\w.%-]+=)"  # what begins `;sig=...` or `#sig=...`; a fragment such as #usage is none
_URL = re.compile(
    r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]*://)(?P<user>[^\s/?#'\"<>]*@)?"
    rf"(?P<path>(?:[^\s?#;'\"<>,]|(?!{_PARAMETER})[#;])*)"
    rf"(?P<query>\?(?:[^\s'\"<>\\]*[^\s'\"<>\\:;,.])?|{_PARAMETER}[^\s'\"<>\\]*[^\s'\"<>\\:;,.])?"
)
_TOKEN = re.compile(r"(?=[^/]*[a-z])(?=[^/]*[A-Z])(?=[^/]*\d)[\w~%+=-]{24,}")  # a part of a path that is no word
LONGEST = 20_000  # characters that are read of a text of which fewer are told
_SECRET_NAME = re.compile(
    r"(PASSWORD|PASSWD|PASSPHRASE|_PASS|_PWD|SECRET|TOKEN|CREDENTIALS?|CONNECTION_STRING|HEADERS|_KEYS?|APIKEY)$",
    re.IGNORECASE,
)
_NOT_SECRET = re.compile(r"[\w-]*(FILE|PATH)$", re.IGNORECASE)


class _Known:
    """The secrets of this process, and the expression that finds them."""

    def __init__(self) -> None:
        self.values: set[str] = set()
        self.pattern: re.Pattern[str] | None = None

    def add(self, secrets: Iterable[str]) -> None:
        fresh = {secret for secret in secrets if len(secret) >= LEAST_LENGTH} - self.values
        if fresh:
            self.values |= fresh
            longest_first = sorted(self.values, key=len, reverse=True)
            self.pattern = re.compile("|".join(map(re.escape, longest_first)))


_known = _Known()  # of the process, because errors are made in places that know nothing of its settings


def redacted(text: str) -> str:
    """The text without the credentials of its URLs, and without the secrets of this process."""
    if "://" in text:
        text = _URL.sub(_hide, text)
    if _known.pattern is not None:
        text = _known.pattern.sub(HIDDEN, text)
    return text


def redacted_start(text: str, most: int) -> str:
    """The first characters of the redacted text. A text that is cut first may keep a part of a secret."""
    return redacted(text[: max(LONGEST, most)])[:most]


def remember_secrets(settings: Mapping[str, object]) -> None:
    """Notes the secrets among settings or environment variables, given by name, so that `redacted` removes them.

    They are the user information, the parameters and the tokens in the path of every URL, and the values of variables
    such as REDIS_PASSWORD.
    """
    for name, value in settings.items():
        text = value if isinstance(value, str) else ""
        if "//" in text:
            _known.add(form for secret in _secrets_of_urls(text) for form in _forms(secret))
        if _SECRET_NAME.search(name) and not _NOT_SECRET.fullmatch(name):
            _known.add(form for secret in _secrets_of_value(text) for form in _forms(secret))


def _hide(url: re.Match[str]) -> str:
    user = f"{HIDDEN}@" if url["user"] else ""
    query = f"{url['query'][0]}{HIDDEN}" if url["query"] else ""
    return f"{url['scheme']}{user}{url['path']}{query}"


def _secrets_of_urls(text: str) -> Iterable[str]:
    """The passwords (or user names that stand alone), the values of parameters and the tokens in paths of a setting.

    A setting may have several URLs, separated by commas or white space, but a password may contain a space, too.
    """
    several = re.split(r",(?=[\w.-]+=\w+://)", text)
    yield from (secret for url in several if " " in url for secret in _users(url.partition("//")[2]))
    for url in (part for one in several for part in one.split()):
        _, _, rest = url.partition("//")
        address, _, query = rest.partition("?")
        yield from (value for _, value in parse_qsl(query.partition("#")[0]))
        yield from (pair.partition("=")[2] for pair in re.split("[?&#;]", rest)[1:])
        yield from (part for part in re.split("[/?#;]", address) if _TOKEN.fullmatch(part))
        yield from _users(rest)


def _users(rest: str) -> Iterable[str]:
    """The password, or the user name that stands alone, in a URL without its scheme."""
    address = rest.partition("?")[0]
    for user in {address.partition("@")[0] if "@" in address else "", rest.rpartition("@")[0]}:
        name, given, password = user.partition(":")  # the second: a password may contain what should be escaped
        if given:
            yield password
        elif "/" not in name:
            yield name


def _secrets_of_value(text: str) -> Iterable[str]:
    """A value, and its parts where it is a list of `name=value`, as OTEL_EXPORTER_OTLP_HEADERS is."""
    yield text
    for part in text.split(","):
        value = part.partition("=")[2]
        yield value
        yield unquote(value).rpartition(" ")[2]  # without `Bearer`


def _forms(secret: str) -> set[str]:
    """A secret as it stands, decoded, encoded, with any white space as one, and as it is in JSON and in Python."""
    plain = {secret, unquote(secret), quote(secret), quote(secret, safe=""), " ".join(secret.split())}
    return plain | {json.dumps(one)[1:-1] for one in plain} | {repr(one)[1:-1] for one in plain}
