"""One WebSocket connection: its streams, its queue, and the ways a message goes through it."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

import msgspec
from aiohttp import WSMsgType, web

from tests.market.faults import Frame
from tests.market.listing import Venue

# A client that reads slower than this is dropped, as the exchange does.
QUEUE_MAX = 200_000
TEXT, BINARY, CONTINUATION = 0x1, 0x2, 0x0
FINAL = 0x80


def framed(opcode: int, body: bytes, final: bool = True) -> bytes:
    """A server's WebSocket frame (RFC 6455, section 5.2)."""
    head = bytes([opcode | (FINAL if final else 0)])
    if len(body) < 126:
        return head + bytes([len(body)]) + body
    if len(body) < 65_536:
        return head + bytes([126]) + len(body).to_bytes(2, "big") + body
    return head + bytes([127]) + len(body).to_bytes(8, "big") + body


@dataclass(eq=False)
class Connection:
    """A client; frames are queued, and one task writes them."""

    socket: web.WebSocketResponse
    transport: asyncio.Transport
    venue: Venue
    address: str
    combined: bool
    streams: set[str] = field(default_factory=set)
    queue: deque[Frame | bytes | None] = field(default_factory=deque)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    writing: bool = False
    pinged_s: float = 0.0
    ponged_s: float = field(default_factory=time.monotonic)

    def offer(self, item: Frame | bytes | None) -> None:
        """Queue a frame of a stream, an answer, or None for a ping."""
        if len(self.queue) >= QUEUE_MAX:
            self.abort()
            return
        self.queue.append(item)
        self.ready.set()

    def idle(self) -> bool:
        """Whether everything that was offered has gone to the socket."""
        return not self.queue and not self.writing

    def abort(self) -> None:
        """Break the connection without a word."""
        self.queue.clear()
        self.transport.abort()

    async def close(self, code: int, reason: str) -> None:
        """Close the connection as the protocol has it."""
        self.queue.clear()
        await self.socket.close(code=code, message=reason.encode())

    async def write_all(self) -> None:
        """Write what is queued until the connection ends."""
        while True:
            await self.ready.wait()
            self.ready.clear()
            self.writing = True
            try:
                while self.queue:
                    await self.write(self.queue.popleft())
            except (ConnectionError, RuntimeError):
                # The client has gone; the reader ends the connection.
                self.queue.clear()
                return
            finally:
                self.writing = False

    async def write(self, item: Frame | bytes | None) -> None:
        """Write one frame, answer or ping."""
        if item is None:
            self.pinged_s = time.monotonic()
            await self.socket.ping(str(time.time_ns() // 1_000_000).encode())
        elif isinstance(item, bytes):
            await self.socket.send_frame(item, WSMsgType.TEXT)
        else:
            await self.send(item)

    def text(self, frame: Frame) -> bytes:
        """The message of a frame as this connection has it: wrapped or raw, then mangled."""
        text = frame.payload
        if self.combined:
            text = b'{"stream":' + msgspec.json.encode(frame.stream) + b',"data":' + text + b"}"
        return frame.mangled(text) if frame.mangled else text

    async def send(self, frame: Frame) -> None:
        """Send a frame by its passage."""
        text = self.text(frame)
        if frame.passage == "whole":
            kind = WSMsgType.BINARY if frame.binary else WSMsgType.TEXT
            await self.socket.send_frame(text, kind)
            return
        opcode, half = BINARY if frame.binary else TEXT, len(text) // 2
        whole = framed(opcode, text)
        if frame.passage == "fragments":
            parts = [framed(opcode, text[:half], False), framed(CONTINUATION, text[half:])]
        else:
            parts = [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
        self.transport.write(parts[0])
        await asyncio.sleep(frame.pause_s)
        if frame.passage == "cut":
            self.transport.close()
        else:
            self.transport.write(parts[1])
