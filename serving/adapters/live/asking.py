"""What ccxt answers, its errors as ours: told apart by what the venue said."""

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import ccxt

from serving.adapters.live.venue import CallFailed, CallRefused, Throttled

TIMEOUT_MS = 10_000

_STATUS = re.compile(r"\b(418|429)\b")
_WALL = re.compile(r"\s403\s")  # not within an address
_UNTIL = re.compile(r"banned until (\d{13})\b")  # by the venue's clock, in ms


def place(url: str) -> str:
    """Where an address leads, for people: without a password that it may hold."""
    return urlsplit(url).netloc.rpartition("@")[2]


async def told(client: Any, ask: Callable[[], Awaitable[Any]]) -> Any:
    """What `ask` answers by way of ccxt's `client`; raises CallFailed for all that goes wrong."""
    client.last_response_headers = None
    try:
        return await ask()
    except ccxt.BaseError as error:
        raise _failure(client, error) from error
    except Exception as error:  # what a broken answer makes of ccxt has no one class
        raise CallFailed(f"{type(error).__name__}: {error}") from error


def header(client: Any, name: str) -> str | None:
    """A header of the last answer, its name in small letters; None where it has none."""
    headers = client.last_response_headers or {}
    return next((value for key, value in headers.items() if key.lower() == name), None)


def _failure(client: Any, error: ccxt.BaseError) -> CallFailed:
    # Of a connection that was not made ccxt tells the address alone; what it met says why.
    text = " ".join(str(error.__cause__ or error).split())[:300]
    limited = isinstance(error, ccxt.DDoSProtection | ccxt.RateLimitExceeded)
    if limited:
        status = _STATUS.search(text)
        after = header(client, "retry-after")
        seconds = float(after) if after is not None and after.isdecimal() else None
        return Throttled(int(status.group()) if status else 429, _longer(seconds, text))
    if isinstance(error, ccxt.ExchangeNotAvailable) and _WALL.search(text):
        return Throttled(403, None)
    # The venue could not: so ccxt reads the network's errors and Binance's -1000, -1001, -1006 and
    # -1008, but not an answer that broke off.
    could_not = isinstance(error, ccxt.OperationFailed)
    if could_not or isinstance(error.__cause__, aiohttp.ClientError):
        return CallFailed(text)
    return CallRefused(text)


def _longer(seconds: float | None, text: str) -> float | None:
    """The wait that a header names or, where that is longer, the end of the ban that a text names.

    Binance names its bans' ends in the text, and a header is not always beside it.
    """
    until = _UNTIL.search(text)
    if until is None:
        return seconds
    return max(float(until.group(1)) / 1e3 - time.time(), seconds or 0.0)
