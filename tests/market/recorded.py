"""Ticks from recorded stream lines: `<receive time, ns> <JSON>`, one gzip file an instrument."""

import gzip
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.market.listing import Key, Listing, perpetual, spot
from tests.market.ticks import Tick

KINDS = {"trade": "trade", "bookTicker": "quote", "depth": "depth"}
FOLDER = "ticks_hftbacktest_20240808"
LISTED = {
    "spot_btcusdt": spot("BTCUSDT"),
    "spot_ethusdt": spot("ETHUSDT", step_size="0.00010000"),
    "usdm_btcusdt": perpetual("BTCUSDT"),
    "usdm_ethusdt": perpetual("ETHUSDT", tick_size="0.01"),
}


def lines(path: Path, key: Key) -> Iterator[Tick]:
    """The ticks of one file from its depth snapshot on, at the recording's own times.

    Of what came before the snapshot only the depth events that reach beyond it are kept: they stand
    right after it. Without the snapshot's book nothing earlier could be served.
    """
    early: list[Tick] = []
    snapshot_id: int | None = None
    with gzip.open(path, "rb") as file:
        for line in file:
            stamp, _, text = line.partition(b" ")
            message, time_ns = msgspec.json.decode(text), int(stamp)
            if "stream" not in message:
                snapshot_id = message["lastUpdateId"]
                yield Tick(time_ns, key, "snapshot", message)
                newer = (tick for tick in early if tick.payload["u"] > snapshot_id)
                yield from (Tick(time_ns, key, "depth", tick.payload) for tick in newer)
                continue
            kind = KINDS[message["stream"].split("@")[1]]
            tick = Tick(time_ns, key, kind, message["data"])  # type: ignore[arg-type]
            if snapshot_id is None:
                early += [tick] if kind == "depth" else []
            elif kind != "depth" or tick.payload["u"] > snapshot_id:
                yield tick


@dataclass(frozen=True)
class Recorded:
    """The recorded files of some instruments, merged in the order of their receive times."""

    folder: Path
    names: tuple[str, ...] = tuple(LISTED)

    @property
    def listings(self) -> list[Listing]:
        """The instruments of the files."""
        return [LISTED[name] for name in self.names]

    @property
    def base_ms(self) -> dict[Key, int]:
        """Spot depth was recorded each 100 ms, that of perpetuals at once."""
        return {listing.key: 100 if listing.venue == "spot" else 0 for listing in self.listings}

    def ticks(self) -> Iterator[Tick]:
        """All ticks, their times counted from the first one."""
        files = [
            lines(self.folder / FOLDER / f"{name}_20240808.gz", LISTED[name].key)
            for name in self.names
        ]
        start_ns: int | None = None
        for tick in heapq.merge(*files, key=lambda tick: tick.time_ns):
            start_ns = tick.time_ns if start_ns is None else start_ns
            yield Tick(tick.time_ns - start_ns, tick.key, tick.kind, tick.payload)
