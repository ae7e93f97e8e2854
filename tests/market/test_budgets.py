"""Request weight, 429 and 418: what is refused, for how long, and what is a violation."""

from tests.market.budget import STRIKES_MAX, Budget, weight
from tests.market.clients import rest
from tests.market.generated import Generated
from tests.market.server import Market

HERE = "127.0.0.1"


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now_ms = 60_000 * 1000

    def __call__(self) -> int:
        return self.now_ms


def rules(budget: Budget) -> list[str]:
    """The rules that were broken."""
    return [violation["rule"] for violation in budget.violations]


def test_a_depth_request_costs_by_its_limit() -> None:
    costs = [weight("spot", "depth", limit) for limit in (5, 100, 101, 500, 1000, 5000)]
    assert costs == [5, 5, 25, 25, 50, 250]
    assert [weight("usdm", "depth", limit) for limit in (50, 100, 500, 1000)] == [2, 5, 10, 20]


def test_the_budget_is_full_again_in_the_next_minute() -> None:
    clock = Clock()
    budget = Budget(clock, limits={"spot": 100, "usdm": 100})
    assert all(budget.ask("spot", HERE, 25, "trades") is None for _ in range(4))
    refused = budget.ask("spot", HERE, 25, "trades")
    assert refused is not None and (refused.status, refused.retry_after_s) == (429, 60)
    assert budget.ask("usdm", HERE, 25, "trades") is None
    assert budget.ask("spot", "127.0.0.2", 25, "trades") is None
    clock.now_ms += 60_000
    assert budget.ask("spot", HERE, 25, "trades") is None
    assert rules(budget) == ["weight over the budget"]


def test_who_does_not_wait_after_a_429_is_banned_and_recorded() -> None:
    clock = Clock()
    budget = Budget(clock, ban_s=120)
    budget.limit("spot", HERE, 10)
    answers = [budget.ask("spot", HERE, 1, "ping") for _ in range(STRIKES_MAX)]
    assert [answer.status for answer in answers if answer] == [429] * (STRIKES_MAX - 1) + [418]
    clock.now_ms += 119_000
    banned = budget.ask("spot", HERE, 1, "ping")
    assert banned is not None and (banned.status, banned.retry_after_s) == (418, 1)
    clock.now_ms += 1000
    assert budget.ask("spot", HERE, 1, "ping") is None
    wanted = ["request before Retry-After"] * STRIKES_MAX + ["request during a ban"]
    assert rules(budget) == wanted


def test_who_waits_breaks_no_rule() -> None:
    clock = Clock()
    budget = Budget(clock)
    budget.limit("spot", HERE, 10)
    clock.now_ms += 10_000
    assert budget.ask("spot", HERE, 1, "ping") is None and budget.violations == []


def test_a_429_comes_with_or_without_retry_after() -> None:
    with Market(Generated(1), stepwise=True) as market:
        market.inject("too_many", venue="spot", retry_after_s=7, count=1)
        answer = rest(market, "spot", "time")
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
        market.inject("too_many", venue="usdm", hold_s=30, count=1)
        answer = rest(market, "usdm", "time")
        assert answer.status == 429 and "Retry-After" not in answer.headers
        assert market.violations() == []
        assert rest(market, "usdm", "time").status == 429
        assert [row["rule"] for row in market.violations()] == ["request soon after a 429"]


def test_a_request_during_a_ban_is_a_violation() -> None:
    with Market(Generated(1), stepwise=True) as market:
        market.inject("ban", venue="usdm", ban_s=30, count=1)
        answer = rest(market, "usdm", "depth", symbol="BTCUSDT")
        assert (answer.status, answer.headers["Retry-After"]) == (418, "30")
        assert market.violations() == []
        assert rest(market, "usdm", "ping").status == 418
        assert rest(market, "spot", "ping").status == 200
        found = market.violations()
        assert [row["rule"] for row in found] == ["request during a ban"]
        assert (found[0]["venue"], found[0]["detail"]) == ("usdm", "ping")


def test_a_small_budget_is_enforced_and_put_back() -> None:
    with Market(Generated(1), stepwise=True) as market:
        number = market.inject("budget", venue="spot", limit=40)
        # Two a minute, of which one may end meanwhile: the fifth is refused in any case.
        statuses = [rest(market, "spot", "exchangeInfo").status for _ in range(5)]
        assert statuses[:2] == [200, 200] and 429 in statuses
        market.clear(number)
        limit = rest(market, "usdm", "exchangeInfo").json()["rateLimits"][0]["limit"]
        assert limit == 2400
        assert market.ask(lambda exchange: exchange.budget.limits["spot"]) == 6000
