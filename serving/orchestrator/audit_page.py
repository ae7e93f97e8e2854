"""The audit trail as an operator's program reads it: `/audit`, the last verbs, newest last."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from serving.runtime.audit import Trail, Unwritable, last_rows

SHOWN_MAX = 200


class AuditPage:
    """The page over a trail."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail

    @property
    def routes(self) -> list[BaseRoute]:
        """What it answers."""
        return [Route("/audit", self._audit)]

    def close(self) -> None:
        """Nothing lasts."""

    async def _audit(self, _request: Request) -> Response:
        try:
            found = await run_in_threadpool(last_rows, self._trail, SHOWN_MAX)
        except Unwritable as error:
            return PlainTextResponse(f"not now: {error}\n", status_code=503)
        return JSONResponse({"records": found, "where": self._trail.where})
