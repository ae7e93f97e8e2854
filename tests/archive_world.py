"""An archive like Binance's on a real local HTTP server, with files made of generated rows.

What it does wrong is told for a path, once an entry: `cut` ends the body in the middle, `broken`
sends other bytes, a number is answered as a status, `slow` sends the body in small pieces.
"""

import hashlib
import io
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from hft_lib.market.archive import ArchiveFile, Kind

HEADERS = {
    Kind.KLINES: "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore",
    Kind.MARK_PRICE_KLINES: "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore",
    Kind.TRADES: "id,price,qty,quote_qty,time,is_buyer_maker",
    Kind.AGG_TRADES: "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,"
    "is_buyer_maker",
    Kind.BOOK_TICKER: "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,"
    "transaction_time,event_time",
    Kind.FUNDING_RATE: "calc_time,funding_interval_hours,last_funding_rate",
}


def start_ms(day: date) -> int:
    """A day's first millisecond since 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def kline(open_ms: int, unit: int = 1) -> str:
    """A bar of a minute whose prices follow from its time, in ms or (`unit` 1000) in µs."""
    close = 60_000 + open_ms // 60_000 % 997 / 10
    return (
        f"{open_ms * unit},{close - 1:.2f},{close + 2:.2f},{close - 2:.2f},{close:.2f},"
        f"{1 + open_ms // 60_000 % 7}.50000000,{(open_ms + 60_000) * unit - 1},9.5,12,4.5,5.5,0"
    )


def klines(day: date, bars: int = 1440, unit: int = 1) -> list[str]:
    """A day's bars of a minute."""
    return [kline(start_ms(day) + 60_000 * number, unit) for number in range(bars)]


def zipped(name: str, rows: list[str], header: str = "") -> bytes:
    """A zip of one CSV."""
    text = "\n".join(([header] if header else []) + rows) + "\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return packed.getvalue()


class ArchiveServer:
    """What it serves (`files`), what it will do wrong (`faults`), what it was asked (`asked`)."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str | int]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.etags: dict[str, str] = {}
        self.ranges = True
        self.url = ""

    def add(self, file: ArchiveFile, rows: list[str], header: bool = False) -> str:
        """Publish a file with its checksum; returns its path."""
        name = file.name.removesuffix(".zip") + ".csv"
        return self.put(file.path, zipped(name, rows, HEADERS[file.kind] if header else ""))

    def put(self, path: str, content: bytes) -> str:
        """Publish bytes, with the checksum that they have."""
        self.files[f"/{path}"] = content
        digest = hashlib.sha256(content).hexdigest()
        name = path.rpartition("/")[2]
        self.files[f"/{path}.CHECKSUM"] = f"{digest}  {name}\n".encode()
        self.etags[f"/{path}"] = f'"{digest[:16]}"'
        return path

    def fail(self, path: str, *faults: str | int) -> None:
        """Let the next answers for `path` be these faults."""
        self.faults[f"/{path}"] = list(faults)

    def zips_asked(self) -> list[str]:
        """The zip files that were asked for, in order."""
        return [path.lstrip("/") for path, _ in self.asked if path.endswith(".zip")]

    def ranges_asked(self, path: str) -> list[str | None]:
        """The Range of each request for a path, None where it had none."""
        return [wanted for asked, wanted in self.asked if asked == f"/{path}"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: ArchiveServer

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing on stderr."""

    def do_GET(self) -> None:
        """Answer as told."""
        world = self.world
        world.asked.append((self.path, self.headers.get("Range")))
        faults = world.faults.get(self.path, [])
        fault = faults.pop(0) if faults else ""
        content = world.files.get(self.path)
        if isinstance(fault, int) or content is None:
            self._refuse(fault if isinstance(fault, int) else 404)
            return
        if fault == "broken":
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = self._start(len(content))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        if self.path in world.etags:
            self.send_header("ETag", world.etags[self.path])
        self.end_headers()
        self._send(content[start:], str(fault))

    def _refuse(self, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", "0")
        if code == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()

    def _start(self, length: int) -> int:
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        changed = condition is not None and condition != self.world.etags.get(self.path)
        if wanted is None or not self.world.ranges or changed:
            return 0
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        return start if start < length else 0

    def _send(self, body: bytes, fault: str) -> None:
        if fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif fault == "slow":
            for at in range(0, len(body), len(body) // 5 + 1):
                self.wfile.write(body[at : at + len(body) // 5 + 1])
                time.sleep(0.02)
        else:
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that went away is no error: one that gives up does."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving() -> Iterator[ArchiveServer]:
    """An empty archive that answers at its `url` while the block runs."""
    world = ArchiveServer()
    handler = type("Handler", (_Handler,), {"world": world})
    server = _Server(("127.0.0.1", 0), handler)
    world.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield world
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def days(first: date, last: date) -> list[date]:
    """Each day from first to last."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
