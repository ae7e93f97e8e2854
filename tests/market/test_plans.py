"""Faults in combinations: a careful client is never wrong, and the market stays whole."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.market.book import Book
from tests.market.clients import RAW, REST, Gap, LocalBook
from tests.market.generated import Generated
from tests.market.listing import VENUES, Payload, Venue
from tests.market.plans import KINDS, random_plan
from tests.market.scenarios import catalogue
from tests.market.server import Market

ROOT = Path(__file__).resolve().parents[2]
SYMBOL = "BTCUSDT"
# What a client of frames alone can live with; bans and the like are the feed's own tests.
FRAMES = ("gap", "duplicate", "disorder", "corrupt", "partial", "drop", "day_end", "refuse")
STATES = ("stale_snapshot", "jump", "freeze", "one_sided", "halt", "cut_json", "reset")
DURATION_S = 5.0
AGAIN_S = 0.02
RECOVERY_S = 20.0


def test_every_planned_fault_is_one_of_the_catalogue() -> None:
    assert set(KINDS) <= set(catalogue())


def test_a_plan_is_a_function_of_its_seed_and_leaves_time_to_recover() -> None:
    plan = random_plan(4, 60)
    assert plan == random_plan(4, 60) != random_plan(5, 60)
    assert len(plan) > 10 and max(entry["at_s"] for entry in plan) < 45
    assert all(entry["at_s"] + entry.get("for_s", 0) <= 54.01 for entry in plan)


def well_formed(text: str | bytes) -> Payload | None:
    """A depth event, None for anything else."""
    try:
        message = json.loads(text)
    except ValueError:
        return None
    return message if isinstance(message, dict) and "u" in message else None


class Careful:
    """Keeps a book by the documented rule, and begins again wherever it cannot go on."""

    def __init__(self, market: Market, venue: Venue) -> None:
        self.market, self.venue = market, venue
        self.books: dict[int, Book] = {}

    async def run(self) -> None:
        """Connect again and again until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                with suppress(aiohttp.ClientError, ValueError, KeyError, Gap, ConnectionError):
                    await self.follow(session)
                await asyncio.sleep(AGAIN_S)

    async def reached(self, update_id: int) -> None:
        """Wait until the book is as new as this: the faults are over, so it comes."""
        deadline = asyncio.get_running_loop().time() + RECOVERY_S
        while max(self.books, default=0) < update_id:
            assert asyncio.get_running_loop().time() < deadline, "the client never came back"
            await asyncio.sleep(0.02)

    async def follow(self, session: aiohttp.ClientSession) -> None:
        """One connection to its end, or to a gap."""
        path = f"{RAW[self.venue]}/{SYMBOL.lower()}@depth@100ms"
        async with session.ws_connect(self.market.ws_url + path) as socket:
            local = LocalBook(self.venue)
            async for message in socket:
                if (event := well_formed(message.data)) is None:
                    continue
                if local.update_id is None:
                    local.begin(await self.snapshot(session))
                if local.take(event):
                    assert local.update_id is not None
                    self.books[local.update_id] = local.book.copy()

    async def snapshot(self, session: aiohttp.ClientSession) -> Payload:
        """A depth snapshot."""
        address = f"{self.market.rest_url}{REST[self.venue]}depth?symbol={SYMBOL}&limit=1000"
        async with session.get(address) as answer:
            return json.loads(await answer.read())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_careful_client_never_has_a_wrong_book_under_combined_faults(seed: int) -> None:
    async def run() -> list[Careful]:
        clients = [Careful(market, venue) for venue in VENUES]
        tasks = [asyncio.create_task(client.run()) for client in clients]
        await asyncio.sleep(DURATION_S)
        late = market.ask(
            lambda exchange: {key: item.depth_id for key, item in exchange.instruments.items()}
        )
        for client in clients:
            await client.reached(late[client.venue, SYMBOL])
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return clients

    with Market(Generated(seed), pace=4) as market:
        plan = random_plan(seed, DURATION_S, each_s=0.25, names=FRAMES + STATES)
        market.plan(plan)
        clients = asyncio.run(run())
        struck = market.ask(lambda _: sum(fault.hits > 0 for fault in market.history))
        assert struck >= len(plan) // 2
        for client in clients:
            truth = market.ask(lambda exchange: exchange.truth)
            for update_id, book in client.books.items():
                assert book == truth.book((client.venue, SYMBOL), update_id), f"at {update_id}"
            assert len(client.books) > 10


def test_it_runs_as_a_process_that_another_one_controls() -> None:
    command = [sys.executable, "-m", "tests.market", "--synthetic", "5", "--stepwise"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())

        def call(path: str, body: Payload | None = None) -> Payload:
            data = None if body is None else json.dumps(body).encode()
            with urllib.request.urlopen(urls["control_url"] + path, data, timeout=20) as answer:
                return json.loads(answer.read())

        assert call("/step", {"ticks": 100}) == {"ticks": 100}
        assert call("/inject", {"name": "refuse"}) == {"number": 0}
        with pytest.raises(OSError):
            urllib.request.urlopen(urls["rest_url"] + "/api/v3/ping", timeout=5)
        call("/clear", {})
        assert call("/status")["published"] > 100
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
