"""Addresses of the services around us: what each kind must look like, and how it is shown.

The checks are pydantic validators: each gives the address back unchanged or raises `ValueError`
with the rule and the address, its password masked. They look at the text only; `hft doctor` asks
whether anyone answers there.
"""

import re
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import ValidationInfo

MASK = "********"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

_LOGIN = re.compile(r"[^\s:@,/]+:[^\s:@,/]+")
_HIDDEN_NAME = r"([?&;][^=&;\s]*(?:password|passwd|secret|token|api_?key|signature)[^=&;\s]*=)"
_SECRET_QUERY = re.compile(_HIDDEN_NAME + r"[^&;#\s]*", re.IGNORECASE)
_SECRET_QUERY_VALUE = re.compile(_HIDDEN_NAME + r"([^&;#\s]*)", re.IGNORECASE)


def masked(text: str) -> str:
    """Hide every password in `text`: what stands before an @ in a word, and secret query values."""
    return _SECRET_QUERY.sub(rf"\1{MASK}", re.sub(r"\S+@", _masked_user, text))


def secrets_in(text: str) -> set[str]:
    """The secrets that an address holds, as they are written and as they are meant."""
    found = {match.group(2) for match in _SECRET_QUERY_VALUE.finditer(text)}
    for match in re.finditer(r"\S+@", text):
        user = match.group()[:-1].rpartition("://")[2]
        name, colon, password = user.partition(":")
        found.add(password if colon else name)
    return {form for one in found for form in (one, unquote(one)) if form}


def _masked_user(match: re.Match[str]) -> str:
    scheme, separator, user = match.group()[:-1].rpartition("://")
    name, colon, _ = user.partition(":")
    return f"{scheme}{separator}{name + colon if colon else ''}{MASK}@"


def http(value: str | None, info: ValidationInfo) -> str | None:
    """Check the base address of a web service."""
    return _checked(value, info, ("http", "https"))


def websocket(value: str | None, info: ValidationInfo) -> str | None:
    """Check the base address of a stream."""
    return _checked(value, info, ("ws", "wss"))


def redis(value: str | None, info: ValidationInfo) -> str | None:
    """Check a Redis address."""
    return _checked(value, info, ("redis", "rediss", "unix"))


def database(value: str | None, info: ValidationInfo) -> str | None:
    """Check the address of an SQL database."""
    return _checked(value, info, ("sqlite", "postgresql", "postgresql+psycopg"))


def mlflow(value: str, info: ValidationInfo) -> str:
    """Check a tracking address; MLflow 3 has closed its file store, so a folder is none."""
    return _checked(value, info, ("sqlite", "http", "https", "postgresql", "postgresql+psycopg"))


def kafka(value: str | None, info: ValidationInfo) -> str | None:
    """Check brokers: `host:port` with commas between, all of them after one `user:password@`."""
    login, at, servers = (value or "").rpartition("@")
    if at and not _LOGIN.fullmatch(login):
        raise _error(info, "must begin with one user:password@ where it has a login", f"{login}@")
    for server in servers.split(",") if value else ():
        parts = _split(f"kafka://{server.strip()}")
        if parts is None or not parts.hostname or not _port(parts) or parts.path:
            raise _error(info, "must be host:port with commas between", server)
    return value


def encrypted_or_local(variable: str, value: str | None) -> None:
    """Refuse to send an account's key in the clear beyond this machine."""
    parts = urlsplit(value or "")
    if value and parts.scheme in ("http", "ws") and parts.hostname not in LOCAL_HOSTS:
        raise ValueError(f"{variable} must be https or wss in production, was {masked(value)!r}")


Address = TypeVar("Address", str, str | None)


def _checked(value: Address, info: ValidationInfo, schemes: tuple[str, ...]) -> Address:
    if value is None:
        return value
    parts = _split(value)
    if parts is None or parts.scheme not in schemes or "://" not in value:
        raise _error(info, f"must begin {_words(schemes)}", value)
    on_disk = parts.scheme in ("sqlite", "unix")
    if on_disk and not (parts.path.strip("/") and not parts.netloc):
        raise _error(info, f"must be {parts.scheme}:/// and a path", value)
    if not on_disk and (not parts.hostname or _port(parts) == 0):
        raise _error(info, "must name a host, and a port from 1 to 65535 if any", value)
    return value


def _split(value: str) -> SplitResult | None:
    try:
        return None if re.search(r"\s", value) else urlsplit(value)
    except ValueError:
        return None


def _port(parts: SplitResult) -> int | None:
    """The port, None where none is named, 0 where it is no port."""
    try:
        return parts.port
    except ValueError:
        return 0


def _words(schemes: tuple[str, ...]) -> str:
    return " or ".join(f"{scheme}://" for scheme in schemes)


def _error(info: ValidationInfo, rule: str, value: str) -> ValueError:
    return ValueError(f"{(info.field_name or '').upper()} {rule}, was {masked(value)!r}")
