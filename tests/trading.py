"""The execution stage driven by hand: each tick says every slot's z and the tops."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from hft_lib.events import (
    CapitalOrder,
    Event,
    Fill,
    Funding,
    Instrument,
    MarketEvent,
    PairTick,
    Promoted,
    Rejected,
    RiskView,
    RolledBack,
    ShadowOrder,
    TimePassed,
)
from hft_lib.parameters import Limits
from hft_lib.rows import HEDGE, RISK, VOLATILITY, Rows
from hft_lib.stages.execution import STAGE
from tests.builders import (
    PAIR,
    S_NS,
    START_NS,
    X,
    Y,
    assigned,
    config,
    instrument,
    parameters,
    pointed,
    quote,
)

SPREAD_SD = 0.01
LIMITS = Limits()


class Trader:
    """One pair of mids 100, two slots from the start; the capital account follows the first."""

    def __init__(self, promote: bool = True, **changes: Any) -> None:
        limits = changes.pop("limits", LIMITS)
        strategy = {"entry_z": 1.0, "exit_z": 0.5, **changes.pop("strategy", {})}
        self.config = config(limits=limits, **changes)
        self.limits = self.config.pairs[0].limits
        self.state = STAGE.start(self.config)
        self.now_ns = START_NS
        self.version = 0
        self.facts: list[Any] = []
        self.params = parameters(gross_fraction_max=0.5, risk_fraction=1.0, **strategy)
        self.hedges = np.zeros(self.config.slots, HEDGE)
        self.assign(0)
        self.assign(1)
        if promote:
            self.point(0)
        self.tick(event=instrument(X), more=True, dt_s=0.0)
        self.tick(event=instrument(Y), dt_s=0.0)

    @property
    def desk(self) -> Any:
        return self.state.pairs[PAIR]

    @property
    def capital(self) -> Rows:
        return self.desk.accounts[-1]

    def account(self, name: str) -> Rows:
        return self.capital if name == "capital" else self.desk.accounts[int(name[5:])]

    def post(self, event: Event) -> list[Any]:
        made = list[Any](STAGE.step(self.state, event))
        self.facts += made
        return made

    def assign(self, slot: int, generation: int = 1, **changes: Any) -> list[Any]:
        self.version += 1
        self.hedges[slot]["live"], self.hedges[slot]["generation"] = 1, generation
        self.hedges[slot]["hedge_ratio"] = 1.0
        values = {"effective_ns": self.now_ns, "slots_version": self.version, **changes}
        return self.post(assigned(slot, self.params, generation=generation, **values))

    def point(self, slot: int, generation: int = 1, back: bool = False) -> list[Any]:
        self.version += 1
        kind = RolledBack if back else Promoted
        values = {"effective_ns": self.now_ns, "slots_version": self.version}
        return self.post(pointed(kind, slot, generation=generation, **values))

    def wait(self, dt_s: float) -> list[Any]:
        """Time passes without an event."""
        self.now_ns += round(dt_s * S_NS)
        return self.post(TimePassed(self.now_ns))

    def tick(
        self,
        *z: float,
        dt_s: float = 60.0,
        y: float = 100.0,
        x: float = 100.0,
        sizes: Sequence[float] = (1e6, 1e6),
        event: MarketEvent | None = None,
        more: bool = False,
        stale: bool = False,
        version: int | None = None,
        limits: Limits | None = None,
        grid_steps: int = 1,
        **rows: Any,
    ) -> list[Any]:
        """The moment `dt_s` later: slot k sees z[k] (else 0), both sides of a leg its size."""
        self.now_ns += round(dt_s * S_NS)
        values = [*z, *[0.0] * (2 - len(z))]
        for slot, value in enumerate(values):
            log_spread = float(np.log(y) - np.log(x))
            self.hedges[slot]["intercept"] = log_spread - value * SPREAD_SD
        event = event or quote(Y, self.now_ns, y)
        leg = "y" if event.symbol == Y else "x"
        top_y, top_x = quote(Y, self.now_ns, y, sizes[0]), quote(X, self.now_ns, x, sizes[1])
        tick = PairTick(
            self.now_ns, PAIR, leg, event,
            top_y.bid, top_y.bid_size, top_y.ask, top_y.ask_size,
            top_x.bid, top_x.bid_size, top_x.ask, top_x.ask_size,
            self.now_ns, self.now_ns, grid_steps,
            self.version if version is None else version, stale, more,
        )  # fmt: skip
        view = RiskView(
            tick,
            self.hedges.tobytes(),
            self._volatilities(rows.pop("spread_sd", SPREAD_SD)).tobytes(),
            self._risks(**rows).tobytes(),
            limits or self.limits,
        )
        return self.post(view)

    def fund(self, rate: float) -> list[Any]:
        """The perpetual's funding falls due a second later."""
        event = Funding(self.now_ns + S_NS, self.now_ns, Y, rate)
        return self.tick(event=event, dt_s=1.0)

    def terms(self, **changes: Any) -> list[Any]:
        """The perpetual, or with `symbol` another leg, changes its terms."""
        symbol = changes.pop("symbol", Y)
        event: Instrument = instrument(symbol, self.now_ns, **changes)
        return self.tick(event=event, dt_s=0.0)

    def _volatilities(self, spread_sd: float) -> Rows:
        rows = np.zeros(self.config.slots, VOLATILITY)
        rows["spread_sd"] = spread_sd
        return rows

    def _risks(self, size: float = 1.0, alarm: int = 0) -> Rows:
        rows = np.zeros(self.config.slots, RISK)
        rows["size"], rows["alarm"] = size, alarm
        return rows

    def of(self, kind: type, account: str = "") -> list[Any]:
        made = [fact for fact in self.facts if isinstance(fact, kind)]
        return [f for f in made if not account or getattr(f, "account", account) == account]

    def orders(self, account: str) -> list[Any]:
        return self.of(CapitalOrder if account == "capital" else ShadowOrder, account)

    def reasons(self, account: str = "") -> list[str]:
        return [fact.reason for fact in self.of(Rejected) if account in fact.subject]

    def filled(self, account: str) -> tuple[float, float]:
        """The position that the account's fills add up to."""
        held = {"y": 0.0, "x": 0.0}
        for fill in self.of(Fill, account):
            held[fill.leg] += fill.quantity if fill.side == "buy" else -fill.quantity
        return held["y"], held["x"]

    def held(self, account: str) -> tuple[float, float]:
        y, x = self.account(account)["position"].tolist()
        return y, x

    def limited(self, **changes: Any) -> Limits:
        """The trader's limits, changed, as a new version."""
        return msgspec.structs.replace(self.limits, version=self.limits.version + 1, **changes)
