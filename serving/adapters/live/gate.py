"""Every REST call goes through here: one at a time, within the budget, none during a ban."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from serving.adapters.live.figures import Figures
from serving.adapters.live.venue import CallFailed, Throttled
from serving.adapters.live.weights import MARGIN_S, Budget, BudgetUnreadable

# What a venue that does not say how long is given; a 418 is for those who went on after a 429. A
# 403 is of the wall before the venue, which may turn away one request of many.
RETRY_S = {429: 30.0, 418: 120.0, 403: 5.0}
RETRY_S_MAX = 3 * 86_400.0  # Binance bans for three days at most
WAIT_S_MAX = 90.0  # for weight: a minute's end is always nearer
ALONE_S_MAX = 1.0  # longer than a venue that is well takes, and a connection may wait
Answer = TypeVar("Answer")

_log = structlog.get_logger(__name__)


class Gate:
    """The way to one venue's REST."""

    def __init__(self, budget: Budget, figures: Figures) -> None:
        self._budget = budget
        self._figures = figures
        self._turn = asyncio.Lock()

    async def call(
        self, scope: str, weight: int, ask: Callable[[], Awaitable[Answer]]
    ) -> tuple[Answer, int]:
        """What `ask` answers, once `weight` may be spent, and when the answer came.

        Raises CallFailed, at once during a ban.
        """
        async with self._turn:
            await self._take(scope, weight)
            self._figures.weight[scope] += weight
            try:
                answer = await ask()
            except Throttled as error:
                await self.banned(error)
                raise
            return answer, time.time_ns()

    async def alone(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """What `ask` gives, no other request beside it as long as neither takes long.

        So what the venue says to one, as that it wants no more, is known before the next.
        """
        has_turn = await self._has_turn()
        asking = asyncio.ensure_future(ask())
        try:
            await asyncio.wait({asking}, timeout=ALONE_S_MAX)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        finally:
            if has_turn:
                self._turn.release()
        return await asking

    async def _has_turn(self) -> bool:
        try:
            return await asyncio.wait_for(self._turn.acquire(), ALONE_S_MAX)
        except asyncio.TimeoutError:
            return False

    async def _take(self, scope: str, weight: int) -> None:
        until_s = time.monotonic() + WAIT_S_MAX
        while True:
            try:
                wait_s = await asyncio.to_thread(self._budget.take, scope, weight, time.time())
            except BudgetUnreadable as error:
                raise CallFailed(f"the budget of requests cannot be read: {error}") from error
            if wait_s <= 0.0:
                return
            if time.monotonic() + wait_s > until_s:
                raise CallFailed(f"no request is allowed for another {wait_s:.0f} s")
            self._figures.waited_s += wait_s
            await asyncio.sleep(wait_s)

    async def banned(self, error: Throttled) -> None:
        """The venue wants no request for a while: nobody of this address makes one."""
        asked_s = error.retry_after_s or RETRY_S.get(error.status, RETRY_S[418])
        for_s = min(asked_s, RETRY_S_MAX) + MARGIN_S
        self._figures.ban_s += for_s
        _log.warning("the venue wants no request for a while", seconds=for_s, why=str(error))
        try:
            await asyncio.to_thread(self._budget.ban, time.time() + for_s)
        except BudgetUnreadable as unreadable:
            # Nothing can be taken from such a budget either, so the ban is kept all the same.
            _log.error("the ban cannot be told to others", why=str(unreadable))

    async def banned_s(self) -> float:
        """How long a ban lasts; a moment where nobody can say."""
        try:
            return await asyncio.to_thread(self._budget.banned_s, time.time())
        except BudgetUnreadable:
            return 1.0

    async def note(self, scope: str, used: int | None = None, limit: int | None = None) -> None:
        """The venue says what it has counted, or what it allows."""
        try:
            await asyncio.to_thread(self._budget.note, scope, time.time(), used, limit)
        except BudgetUnreadable as error:
            _log.warning("the venue's own count cannot be noted", why=str(error))
