"""The REST side: budgets, the faults of requests, and the answer's way out."""

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from tests.market.answers import ANSWERS, BadRequest, number
from tests.market.budget import Refused, weight
from tests.market.exchange import Exchange, wall_ms
from tests.market.faults import Fault
from tests.market.listing import Venue

# A slow answer holds its connection; nobody waits longer than this for one.
SLOW_S_MAX = 120.0
MESSAGES = {
    418: {"code": -1003, "msg": "Way too much request weight used; IP banned."},
    429: {"code": -1003, "msg": "Too many requests; current limit exceeded."},
}


class Rest:
    """The REST endpoint of both markets."""

    def __init__(self, exchange: Exchange, keyless_history: bool = False) -> None:
        self.exchange = exchange
        self.keyless_history = keyless_history

    async def spot(self, request: web.Request) -> web.StreamResponse:
        """Serve `/api/v3/…`."""
        return await self.serve("spot", request)

    async def perpetual(self, request: web.Request) -> web.StreamResponse:
        """Serve `/fapi/v1/…`."""
        return await self.serve("usdm", request)

    async def serve(self, venue: Venue, request: web.Request) -> web.StreamResponse:
        """Answer one request, and keep that it was made."""
        path = request.match_info["path"]
        asked: dict[str, Any] = {"time_ms": wall_ms(), "venue": venue, "path": path}
        asked |= {"query": dict(request.query), "status": 0}
        self.exchange.requests.append(asked)
        answer = self.stopped(venue, path, request) or await self.answered(venue, path, request)
        asked["status"] = answer.status
        used = self.exchange.budget.accounts[venue, str(request.remote)].used
        answer.headers["X-MBX-USED-WEIGHT-1M"] = str(used)
        answer.headers["X-MBX-USED-WEIGHT"] = str(used)
        return await self.sent(venue, path, request, answer)

    def struck(self, name: str, venue: Venue, path: str) -> Fault | None:
        """The fault of this name that strikes a request, if one does."""
        for fault in self.exchange.named(name, venue):
            if fault.meets(venue, None, path) and fault.strikes():
                return fault
        return None

    def stopped(self, venue: Venue, path: str, request: web.Request) -> web.Response | None:
        """What keeps a request from being answered: maintenance, a ban, the budget, a fault."""
        address, budget = str(request.remote), self.exchange.budget
        try:
            cost = weight(venue, path, number(request.query, "limit") or 100)
        except BadRequest as error:
            return refusal(error)
        if refused := budget.ask(venue, address, cost, path):
            return denied(refused)
        if self.exchange.named("maintenance", venue):
            return web.Response(
                status=503, text="<html><body>503 Service Unavailable</body></html>"
            )
        if fault := self.struck("too_many", venue, path):
            wait_s = fault.options.get("retry_after_s")
            hold_s = float(fault.options.get("hold_s", 1.0 if wait_s is None else wait_s))
            return denied(budget.limit(venue, address, hold_s, silent=wait_s is None))
        if fault := self.struck("ban", venue, path):
            ban_s = float(fault.options.get("ban_s", 30.0))
            budget.ban(venue, address, ban_s)
            return denied(Refused(418, round(ban_s)))
        if fault := self.struck("error", venue, path):
            body = {"code": fault.options.get("code", -1001), "msg": "Internal error."}
            return spoken(body, int(fault.options.get("status", 500)))
        return None

    async def answered(self, venue: Venue, path: str, request: web.Request) -> web.Response:
        """The answer to a request that is let through."""
        if fault := self.struck("slow", venue, path):
            await asyncio.sleep(min(float(fault.options.get("delay_s", 2.0)), SLOW_S_MAX))
        answer = ANSWERS[venue].get(path)
        if answer is None:
            return web.Response(status=404, text="<html><body>404 Not found</body></html>")
        keyed = venue == "usdm" and path == "historicalTrades" and not self.keyless_history
        try:
            if keyed and not request.headers.get("X-MBX-APIKEY"):
                raise BadRequest(-2014, "API-key format invalid.", status=401)
            return spoken(answer(self.exchange, venue, request.query))
        except BadRequest as error:
            return refusal(error)

    async def sent(
        self, venue: Venue, path: str, request: web.Request, answer: web.Response
    ) -> web.StreamResponse:
        """The answer on its way out: whole, cut off, rubbish, or the connection breaks.

        A 429 or 418 always arrives: who was not told of a ban could not keep it.
        """
        if answer.status in MESSAGES:
            return answer
        body = bytes(answer.body) if isinstance(answer.body, bytes) else b""
        if self.struck("reset", venue, path):
            assert request.transport is not None
            request.transport.abort()
        if fault := self.struck("garbage_body", venue, path):
            return web.Response(body=fault.random.randbytes(200), headers=answer.headers)
        if self.struck("cut_json", venue, path):
            return web.Response(body=body[: len(body) // 2], headers=answer.headers)
        if self.struck("cut_body", venue, path):
            return await broken_off(request, answer, body)
        return answer


def spoken(told: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(
        body=msgspec.json.encode(told), status=status, content_type="application/json"
    )


def refusal(error: BadRequest) -> web.Response:
    """The answer to a bad request."""
    return spoken({"code": error.code, "msg": error.message}, error.status)


def denied(refused: Refused) -> web.Response:
    """A 429 or 418."""
    answer = spoken(MESSAGES[refused.status], refused.status)
    if refused.retry_after_s is not None:
        answer.headers["Retry-After"] = str(refused.retry_after_s)
    return answer


async def broken_off(request: web.Request, answer: web.Response, body: bytes) -> web.StreamResponse:
    """Promise the whole body, send half of it, and end the connection."""
    response = web.StreamResponse(status=answer.status)
    response.content_type = "application/json"
    response.content_length = max(len(body), 2)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.abort()
    return response
