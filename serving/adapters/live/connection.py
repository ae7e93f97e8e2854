"""One connection of a venue: opened, watched, renewed, and made again when it ends.

Waits between attempts double from a quarter of a second, with chance in them so that many clients
do not come back at once. A connection that brings nothing for a while is as good as ended,
whatever it answers to pings.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable
from typing import Protocol

import aiohttp
import msgspec
import structlog

from hft_lib.market.live.items import (
    Alive,
    Answer,
    BookLost,
    Closing,
    FundingNotice,
    Item,
    Say,
    TradesUnsure,
    Unreadable,
)
from serving.adapters.live.figures import Figures
from serving.adapters.live.gate import RETRY_S, Gate
from serving.adapters.live.venue import Channel, Reader, Throttled, Venue
from serving.adapters.live.watch import StreamWatch, Watch

OPEN_S_MAX = 10.0  # to connect, and again to be answered
# The most is how long a venue that is back waits for us; Binance allows a connection a second.
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.25, 10.0
HEARTBEAT_S = 20.0  # of pings: a dead peer is seen though nothing was to come
RENEW_S = 23 * 3600.0  # Binance ends a connection after a day
FRAME_BYTES_MAX = 1 << 23
QUIET_S = 1.0  # between two looks at a ban

_log = structlog.get_logger(__name__)


class Lost(Exception):
    """The connection is of no more use; the text says why."""


_ENDS = (Lost, aiohttp.ClientError, OSError, asyncio.TimeoutError)


class _Line(msgspec.Struct, frozen=True):
    """One socket, and what reads its frames."""

    socket: aiohttp.ClientWebSocketResponse
    read: Reader


class Taker(Protocol):
    """Who takes what connections bring; called on the feed's own thread."""

    def take(self, item: Item) -> None:
        """The next message."""

    def refuse(self, time_ns: int, error: Unreadable) -> None:
        """A frame that is of no use."""

    def opened(self, channel: Channel) -> None:
        """The connection is there and its streams were agreed to."""

    def lost(self, channel: Channel, why: str) -> None:
        """The connection ended, and what it would have brought is missing."""

    async def room(self) -> None:
        """Return once there is room for more."""


def backoff_s(failures: int, chance: Callable[[], float] = random.random) -> float:
    """The wait after so many failures in a row: half of it is fixed, half is chance."""
    most_s = min(BACKOFF_S_MIN * 2.0 ** min(failures, 20), BACKOFF_S_MAX)
    return most_s * (0.5 + 0.5 * chance())


class Connection:
    """Keeps one channel of a venue coming."""

    def __init__(
        self,
        venue: Venue,
        channel: Channel,
        taker: Taker,
        gate: Gate,
        figures: Figures,
        renew_s: float = RENEW_S,
    ) -> None:
        self.channel = channel
        self.is_open = False
        self.problem = "not connected yet"
        self._venue = venue
        self._taker = taker
        self._gate = gate
        self._figures = figures
        self._renew_s = renew_s
        self._watch = Watch()
        self._streams = StreamWatch()
        self._failures = 0
        self._has_taken = False  # since the last time that a loss was told

    async def run(self) -> None:
        """Connect, and again whenever the connection ends, until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                await self._wait_out_ban()
                try:
                    line = await self._open(session)
                    await self._follow(session, line)
                except _ENDS as error:
                    self._lose(error)
                self._failures += 1
                self._figures.reconnects[self.channel.name] += 1
                await asyncio.sleep(backoff_s(self._failures - 1))

    async def _wait_out_ban(self) -> None:
        while (wait_s := await self._gate.banned_s()) > 0.0:
            if not self.is_open:
                self.problem = f"the venue wants no request for another {wait_s:.0f} s"
            await asyncio.sleep(min(wait_s, QUIET_S))

    def _lose(self, error: Exception) -> None:
        self.problem = _words(error)
        # What came before all was agreed to was taken as well.
        if self.is_open or self._has_taken:
            self.is_open = self._has_taken = False
            _log.warning("the connection ended", channel=self.channel.name, why=self.problem)
            self._taker.lost(self.channel, self.problem)
        else:
            _log.info("no connection yet", channel=self.channel.name, why=self.problem)

    async def _heed(self, error: aiohttp.WSServerHandshakeError) -> None:
        """Keep still where the venue asks for it instead of a handshake."""
        if error.status in RETRY_S:
            after = error.headers.get("Retry-After", "") if error.headers else ""
            seconds = float(after) if after.isdecimal() else None
            await self._gate.banned(Throttled(error.status, seconds))

    async def _open(self, session: aiohttp.ClientSession) -> _Line:
        """A connection whose subscription was agreed to; its first frames are already taken."""
        socket = await self._gate.alone(lambda: self._shake_hands(session))
        line = _Line(socket, self._venue.reader(self.channel))
        try:
            await asyncio.wait_for(self._subscribe(line), OPEN_S_MAX)
        except BaseException:
            await socket.close()
            raise
        return line

    async def _shake_hands(self, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        if await self._gate.banned_s() > 0.0:
            raise Lost("the venue wants no request")
        opening = session.ws_connect(
            self.channel.url,
            heartbeat=HEARTBEAT_S,
            max_msg_size=FRAME_BYTES_MAX,
            timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
        )
        try:
            # Without a limit one that takes the connection and says nothing holds us for minutes.
            return await asyncio.wait_for(opening, OPEN_S_MAX)
        except aiohttp.WSServerHandshakeError as error:
            await self._heed(error)
            raise

    async def _subscribe(self, line: _Line) -> None:
        for request in self.channel.requests.values():
            await line.socket.send_str(request)
        waiting = set(self.channel.requests)
        while waiting:
            answer = await self._next(line, OPEN_S_MAX)
            if answer is None or answer.number not in waiting:
                continue
            if answer.error:
                raise Lost(f"the subscription was refused: {answer.error}")
            waiting.remove(answer.number)

    async def _follow(self, session: aiohttp.ClientSession, line: _Line) -> None:
        """Take what comes until the connection is lost; renew it in time."""
        self._begin()
        renewal: asyncio.Task[_Line] | None = None
        renew_s = self._renew_s if self.channel.overlaps else math.inf
        renew_at_s = time.monotonic() + renew_s
        try:
            while True:
                await self._taker.room()
                left_s = self._watch.left_s(time.monotonic())
                if left_s <= 0.0:
                    limit_s = self._watch.limit_s
                    self._watch.was_silent()
                    raise Lost(f"nothing came for {limit_s:.0f} s")
                if silent := self._streams.silent(time.monotonic()):
                    raise Lost(f"nothing came of {silent}, though of others")
                await self._next(line, min(left_s, QUIET_S))
                if renewal is None and time.monotonic() >= renew_at_s:
                    renewal = asyncio.create_task(self._renewed(session))
                if renewal is not None and renewal.done():
                    # The new one already brings what the old one does: what comes twice is told
                    # once, by its ids.
                    old, line, renewal = line, renewal.result(), None
                    await old.socket.close()
                    self._begin()
                    renew_at_s = time.monotonic() + renew_s
        finally:
            if renewal is not None and not renewal.cancel() and renewal.exception() is None:
                await renewal.result().socket.close()
            await line.socket.close()

    async def _renewed(self, session: aiohttp.ClientSession) -> _Line:
        """The next connection, tried until it is there: the one that is open goes on meanwhile."""
        failures = 0
        while True:
            await self._wait_out_ban()
            try:
                return await self._open(session)
            except _ENDS as error:
                why = _words(error)
                _log.warning("no renewal yet", channel=self.channel.name, why=why)
            await asyncio.sleep(backoff_s(failures))
            failures += 1

    def _begin(self) -> None:
        was_open, self.is_open, self.problem = self.is_open, True, ""
        self._watch.begun(time.monotonic())
        self._streams.begun(time.monotonic())
        if not was_open:
            self._taker.opened(self.channel)

    async def _next(self, line: _Line, wait_s: float) -> Answer | None:
        """Take the next frame; returns the answer to a request, None for all else or nothing."""
        try:
            message = await line.socket.receive(wait_s)
        except asyncio.TimeoutError:
            return None
        time_ns = time.time_ns()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            detail = message.data if isinstance(message.data, int) else line.socket.close_code
            raise Lost(f"the venue closed the connection ({detail})")
        self._figures.frames[self.channel.name] += 1
        answer, says = self._take(line.read, message.data, time_ns)
        for text in says:
            await line.socket.send_str(text)
        return answer

    def _take(
        self, read_frame: Reader, frame: bytes | str, time_ns: int
    ) -> tuple[Answer | None, list[str]]:
        """Hand on what a frame says; returns an answer, and what the venue has to be told."""
        answer: Answer | None = None
        says: list[str] = []
        try:
            for read in read_frame(frame, time_ns):
                match read:
                    case Answer():
                        answer = read
                    case Closing():
                        raise Lost(f"the venue says {read.reason}")
                    case Unreadable():
                        self._taker.refuse(time_ns, read)
                    case Say():
                        says.append(read.text)
                    case Alive():
                        self._watch.heard(time.monotonic())
                    case BookLost() | TradesUnsure():  # nothing that was heard
                        self._taker.take(read)
                    case _:
                        self._taker.take(read)
                        self._has_taken = True
                        self._failures = 0 if self.is_open else self._failures
                        now_s = time.monotonic()
                        self._watch.heard(now_s)
                        self._streams.heard(_stream(read), now_s)
        except Unreadable as error:
            self._taker.refuse(time_ns, error)
        return answer, says


def _stream(item: Item) -> tuple[str, str]:
    """Which of a connection's streams brought `item`."""
    symbol = item.mark.symbol if isinstance(item, FundingNotice) else item.symbol
    return type(item).__name__, symbol


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
