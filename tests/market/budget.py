"""Request weight, too many requests, bans: what an address may ask, and who did not keep to it."""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.market.listing import Payload, Venue

MINUTE_MS = 60_000
LIMITS: dict[Venue, int] = {"spot": 6000, "usdm": 2400}
# Requests that come in spite of a 429 until the address is banned, and how long that holds first.
STRIKES_MAX = 5
BAN_S = 120.0

DEPTH_WEIGHTS = {
    "spot": ((100, 5), (500, 25), (1000, 50), (5000, 250)),
    "usdm": ((50, 2), (100, 5), (500, 10), (1000, 20)),
}
WEIGHTS: dict[Venue, dict[str, int]] = {
    "spot": {
        "ping": 1,
        "time": 1,
        "exchangeInfo": 20,
        "trades": 25,
        "historicalTrades": 25,
        "aggTrades": 4,
        "klines": 2,
        "ticker/bookTicker": 2,
    },
    "usdm": {
        "ping": 1,
        "time": 1,
        "exchangeInfo": 1,
        "trades": 5,
        "historicalTrades": 20,
        "aggTrades": 20,
        "klines": 5,
        "premiumIndex": 1,
        "fundingRate": 1,
        "fundingInfo": 1,
        "ticker/bookTicker": 2,
    },
}


def weight(venue: Venue, path: str, limit: int) -> int:
    """What a request costs; that of depth grows with its limit."""
    if path == "depth":
        return next((cost for depth, cost in DEPTH_WEIGHTS[venue] if limit <= depth), 250)
    return WEIGHTS[venue].get(path, 1)


@dataclass(frozen=True)
class Refused:
    """An answer of 429 or 418."""

    status: int
    retry_after_s: int | None


@dataclass
class Account:
    """What one address has used of one market's budget."""

    minute: int = 0
    used: int = 0
    limited_until_ms: int = 0
    banned_until_ms: int = 0
    strikes: int = 0
    # Whether a 429 keeps back when to come again.
    silent: bool = False


@dataclass
class Budget:
    """The budgets of all addresses, and the violations."""

    clock_ms: Callable[[], int]
    limits: dict[Venue, int] = field(default_factory=lambda: dict(LIMITS))
    accounts: dict[tuple[Venue, str], Account] = field(default_factory=lambda: defaultdict(Account))
    violations: list[Payload] = field(default_factory=list)
    ban_s: float = BAN_S

    def violated(self, rule: str, venue: Venue, address: str, detail: str) -> None:
        """Record that a rule was broken."""
        self.violations.append(
            {
                "time_ms": self.clock_ms(),
                "rule": rule,
                "venue": venue,
                "address": address,
                "detail": detail,
            }
        )

    def ask(self, venue: Venue, address: str, cost: int, path: str) -> Refused | None:
        """Count a request; what refuses it, if anything does."""
        account, now_ms = self.accounts[venue, address], self.clock_ms()
        if now_ms < account.banned_until_ms:
            self.violated("request during a ban", venue, address, path)
            return Refused(418, seconds(account.banned_until_ms - now_ms))
        if now_ms < account.limited_until_ms:
            return self.impatient(venue, address, path)
        if account.minute != now_ms // MINUTE_MS:
            account.minute, account.used = now_ms // MINUTE_MS, 0
        account.used += cost
        if account.used > self.limits[venue]:
            self.violated("weight over the budget", venue, address, path)
            return self.limit(venue, address, (MINUTE_MS - now_ms % MINUTE_MS) / 1000)
        return None

    def impatient(self, venue: Venue, address: str, path: str) -> Refused:
        """Refuse a request that did not wait after a 429; who goes on is banned."""
        account, now_ms = self.accounts[venue, address], self.clock_ms()
        rule = "request soon after a 429" if account.silent else "request before Retry-After"
        self.violated(rule, venue, address, path)
        account.strikes += 1
        if account.strikes >= STRIKES_MAX:
            self.ban(venue, address, self.ban_s)
            return Refused(418, seconds(account.banned_until_ms - now_ms))
        return self.limited(account)

    def limited(self, account: Account) -> Refused:
        """The 429 of an account that is limited."""
        left_s = seconds(account.limited_until_ms - self.clock_ms())
        return Refused(429, None if account.silent else left_s)

    def limit(self, venue: Venue, address: str, for_s: float, silent: bool = False) -> Refused:
        """Answer 429 to an address for so long, `silent` without saying how long."""
        account = self.accounts[venue, address]
        account.limited_until_ms = self.clock_ms() + round(for_s * 1000)
        account.strikes, account.silent = 0, silent
        return self.limited(account)

    def ban(self, venue: Venue, address: str, for_s: float) -> None:
        """Ban an address for so long."""
        self.accounts[venue, address].banned_until_ms = self.clock_ms() + round(for_s * 1000)

    def pardon(self, venue: Venue, address: str) -> None:
        """End a limit and a ban."""
        account = self.accounts[venue, address]
        account.limited_until_ms = account.banned_until_ms = account.strikes = 0


def seconds(milliseconds: int) -> int:
    """Whole seconds, rounded up, as `Retry-After` says them."""
    return math.ceil(milliseconds / 1000)
