"""Every payload that was recorded goes through the parsers: taken, or counted with its reason."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hft_lib.events import Depth, Quote
from hft_lib.market.binance_ws import websocket_source
from hft_lib.market.flaws import counts
from hft_lib.market.kraken_ws import KrakenParser
from hft_lib.market.tape import DataError

T0 = 1_700_000_000 * 10**9
TICK_LINES = 5_000
# A symbol must be known from a first line; this one is the documents' commonest.
KNOWN = json.dumps({"u": 1, "s": "BTCUSDT", "b": "1.0", "B": "1.0", "a": "2.0", "A": "1.0"})


def captured(path: Path) -> Iterator[tuple[int, str]]:
    """Receive time in ns and text of each frame; what the capture says of itself is left out."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            time_s, found, text = line.rstrip("\n").partition(": ")
            if found and time_s.replace(".", "", 1).isdecimal():
                yield int(float(time_s) * 1e9), text


@pytest.mark.parametrize(
    ("name", "events", "flaws"),
    [
        ("BINANCE", {"Quote": 84}, {"DEPTH_WITHOUT_SNAPSHOT": 177, "UNREAD_MESSAGE": 4}),
        (
            "BINANCE_FUTURES",
            {"Quote": 613},
            {"DEPTH_WITHOUT_SNAPSHOT": 764, "UNREAD_MESSAGE": 158},
        ),
    ],
)
def test_each_frame_of_binance_is_an_event_or_counted(
    market_data: Path, tmp_path: Path, name: str, events: dict[str, int], flaws: dict[str, int]
) -> None:
    frames = list(captured(market_data / "payloads_cryptofeed" / f"{name}.ws.1.0.gz"))
    (tmp_path / "lines").write_text("".join(f"{time_ns} {text}\n" for time_ns, text in frames))
    source = websocket_source(tmp_path / "lines")
    made = Counter(type(event).__name__ for event in source.events())
    found = counts(source.flaws.runs())
    assert (dict(made), found) == (events, flaws)
    assert made.total() + sum(found.values()) == len(frames)


def test_each_frame_of_kraken_is_taken_and_each_checksum_is_right(market_data: Path) -> None:
    parser, made, frames, quiet = KrakenParser(), Counter[str](), 0, 0
    crossed = 0
    for time_ns, text in captured(market_data / "payloads_cryptofeed" / "KRAKEN.ws.50.0.gz"):
        taken = parser.take(time_ns, text.encode())
        assert taken.flaws == (), text[:200]
        frames += 1
        quiet += not taken.events
        made.update(type(event).__name__ for event in taken.events)
        crossed += sum(isinstance(e, Quote) and not e.bid < e.ask for e in taken.events)
    assert (frames, quiet, made["Depth"], made["Quote"]) == (4321, 42, 4279, 810)
    assert (parser.unsynchronised, crossed) == ([], 0)


def test_a_frame_of_kraken_that_is_left_out_is_seen_by_the_next_checksum(
    market_data: Path,
) -> None:
    frames = list(captured(market_data / "payloads_cryptofeed" / "KRAKEN.ws.50.0.gz"))
    last, left_out, seen = {}, 0, 0
    for number in range(200, 1200, 100):
        parser, hit = KrakenParser(), ""
        for index, (time_ns, text) in enumerate(frames):
            whole = json.loads(text)
            pair = whole[-1] if isinstance(whole, list) else ""
            if index == number and pair:
                hit = pair
                left_out += 1
                continue
            flaws = parser.take(time_ns, text.encode()).flaws
            if hit and pair == hit:
                last[number] = [flaw.reason for flaw in flaws]
                if flaws or index > number + 1500:
                    seen += bool(flaws)
                    break
    assert left_out == 10
    # What is left out deep in the book shows when it comes among the ten best, and not before.
    assert seen >= 5
    assert {reason for reasons in last.values() for reason in reasons} == {"CHECKSUM"}


@pytest.mark.parametrize("name", ["COINBASE.ws.28.0.gz", "BINANCE.ws.1.0.gz"])
def test_another_venues_frames_are_refused_by_kraken_each_with_its_reason(
    market_data: Path, name: str
) -> None:
    parser = KrakenParser()
    for time_ns, text in captured(market_data / "payloads_cryptofeed" / name):
        taken = parser.take(time_ns, text.encode())
        assert taken.events == () and [flaw.reason for flaw in taken.flaws] == ["UNREAD_MESSAGE"]


def documents(market_data: Path) -> list[Path]:
    """The payloads that are one JSON document a file."""
    found = sorted((market_data / "payloads_nautilus_binance").rglob("*.json"))
    assert len(found) > 100
    return found


def test_each_document_of_binance_is_taken_or_refused_with_a_reason(
    market_data: Path, tmp_path: Path
) -> None:
    ends: Counter[str] = Counter()
    for path in documents(market_data):
        text = json.dumps(json.loads(path.read_bytes()))
        (tmp_path / "lines").write_text(f"{T0} {KNOWN}\n{T0 + 1} {text}\n")
        try:
            source = websocket_source(tmp_path / "lines")
            made = [type(event).__name__ for event in source.events()][1:]
        except DataError as error:
            assert "COIN-margined" in str(error), path
            ends["COIN-margined"] += 1
            continue
        reasons = list(counts(source.flaws.runs()))
        assert len(made) + len(reasons) == 1, path
        ends.update(made + reasons)
    assert ends.total() == len(documents(market_data))
    assert {"Quote", "Trade", "Mark", "Depth"} <= set(ends)


def test_each_document_of_binance_is_refused_by_kraken(market_data: Path) -> None:
    for path in documents(market_data):
        taken = KrakenParser().take(T0, path.read_bytes())
        assert taken.events == () and len(taken.flaws) == 1, path


@pytest.mark.parametrize("name", ["spot_btcusdt", "spot_ethusdt", "usdm_btcusdt", "usdm_ethusdt"])
def test_the_first_lines_of_the_tick_files_are_all_events(
    market_data: Path, tmp_path: Path, name: str
) -> None:
    path = market_data / "ticks_hftbacktest_20240808" / f"{name}_20240808.gz"
    with gzip.open(path) as file:
        lines = [next(file) for _ in range(TICK_LINES)]
    (tmp_path / "lines").write_bytes(b"".join(lines))
    source = websocket_source(tmp_path / "lines")
    events = list(source.events())
    found = counts(source.flaws.runs())
    assert set(found) <= {"DEPTH_BEFORE_SNAPSHOT"}
    assert len(events) + sum(found.values()) == TICK_LINES
    assert [event.snapshot for event in events if isinstance(event, Depth)][:2] == [True, False]


@pytest.mark.parametrize("name", ["cm_btcusd_perp", "cm_ethusd_perp"])
def test_recordings_of_coin_margined_contracts_are_refused_whole(
    market_data: Path, name: str
) -> None:
    path = market_data / "ticks_hftbacktest_20240808" / f"{name}_20240808.gz"
    with pytest.raises(DataError, match="COIN-margined"):
        websocket_source(path)
