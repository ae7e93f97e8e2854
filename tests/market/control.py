"""The market under the control of another process: `/control/…` over HTTP, JSON in and out."""

from typing import Any, Protocol

import msgspec
from aiohttp import web

from tests.market.exchange import Exchange
from tests.market.faults import Fault
from tests.market.listing import Key, Payload
from tests.market.scenarios import catalogue

ROWS_MAX = 100_000


class Controlled(Protocol):
    """What the control page acts on."""

    exchange: Exchange
    history: list[Fault]

    def inject_now(self, asked: Payload) -> int:
        """Begin a fault and give its number."""

    def clear_now(self, number: int | None) -> None:
        """End a fault, or all."""

    def plan_now(self, entries: list[Payload]) -> None:
        """Begin faults later, each at its `at_s` from now."""

    async def step_now(self, ticks: int) -> int:
        """Publish so many ticks; how many there were."""


def told(answer: Any) -> web.Response:
    """A JSON answer."""
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


def key_of(request: web.Request) -> Key:
    """The instrument that a request names."""
    venue: Any = request.query["venue"]
    return venue, request.query["symbol"]


class Control:
    """The pages."""

    def __init__(self, market: Controlled) -> None:
        self.market = market

    def routes(self) -> list[web.RouteDef]:
        """What is served."""
        return [
            web.get("/control/status", self.status),
            web.get("/control/catalogue", self.catalogue),
            web.get("/control/faults", self.faults),
            web.get("/control/violations", self.violations),
            web.get("/control/requests", self.requests),
            web.get("/control/truth", self.truth),
            web.get("/control/book", self.book),
            web.get("/control/funding", self.funding),
            web.get("/control/listings", self.listings),
            web.post("/control/inject", self.inject),
            web.post("/control/clear", self.clear),
            web.post("/control/plan", self.plan),
            web.post("/control/step", self.step),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """How things stand."""
        return told(self.market.exchange.status())

    async def catalogue(self, request: web.Request) -> web.Response:
        """Every fault by name."""
        return told(catalogue())

    async def faults(self, request: web.Request) -> web.Response:
        """Every fault that was injected, with its hits."""
        return told([fault.told() for fault in self.market.history])

    async def violations(self, request: web.Request) -> web.Response:
        """What clients did against the rules."""
        return told(self.market.exchange.budget.violations)

    async def requests(self, request: web.Request) -> web.Response:
        """Every request and how it was answered."""
        return told(self.market.exchange.requests)

    async def truth(self, request: web.Request) -> web.Response:
        """What was published of a `kind` of an instrument, from the id `since` on."""
        kind: Any = request.query["kind"]
        log = self.market.exchange.truth.log(kind, key_of(request))
        limit = int(request.query.get("limit", ROWS_MAX))
        return told(log.since(int(request.query.get("since", 0)), limit))

    async def book(self, request: web.Request) -> web.Response:
        """The book at an `update_id`, the newest unless given."""
        exchange, key = self.market.exchange, key_of(request)
        instrument = exchange.instruments[key]
        update_id = int(request.query.get("update_id", instrument.depth_id))
        if (book := exchange.truth.book(key, update_id)) is None:
            return web.Response(status=404, text=f"no book as early as {update_id}")
        bids, asks = book.top(ROWS_MAX)
        rows = {"bids": instrument.rows(bids), "asks": instrument.rows(asks)}
        return told({"update_id": update_id, **rows})

    async def funding(self, request: web.Request) -> web.Response:
        """Fundings that were settled."""
        return told(self.market.exchange.truth.funding[key_of(request)].since(0))

    async def listings(self, request: web.Request) -> web.Response:
        """Every listing that an instrument has had."""
        return told(self.market.exchange.truth.listings[key_of(request)].since(0))

    async def inject(self, request: web.Request) -> web.Response:
        """Begin a fault."""
        try:
            return told({"number": self.market.inject_now(await request.json())})
        except (ValueError, KeyError, TypeError) as error:
            return web.Response(status=400, text=str(error))

    async def clear(self, request: web.Request) -> web.Response:
        """End a fault by its `number`, or all."""
        asked = await request.json() if request.can_read_body else {}
        self.market.clear_now(asked.get("number"))
        return told({})

    async def plan(self, request: web.Request) -> web.Response:
        """Begin faults later."""
        try:
            self.market.plan_now(await request.json())
        except (ValueError, KeyError, TypeError) as error:
            return web.Response(status=400, text=str(error))
        return told({})

    async def step(self, request: web.Request) -> web.Response:
        """Publish ticks, where the market goes stepwise."""
        return told({"ticks": await self.market.step_now(int((await request.json())["ticks"]))})
