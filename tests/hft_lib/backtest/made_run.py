"""A small market and a small exchange that make the facts of a run: real models, the real EVOP,
every fact whole.

The pair is made so that its truth is known: the challenger `patient` receives `bonus_quote` of
funding a day more than the champion, and nothing else sets their luck apart.
"""

from dataclasses import dataclass, field

import msgspec
import numpy as np

from hft_lib.backtest.record import RunRecord, TapeInfo
from hft_lib.events import (
    AccountBlock,
    BlockClosed,
    CapitalOrder,
    Event,
    Fill,
    HandedOver,
    Marked,
    Promoted,
    Registered,
    Rejected,
    RolledBack,
    ShadowOrder,
    SlotAssigned,
)
from hft_lib.line import LineConfig, PairConfig
from hft_lib.models import bocd, garch, kalman
from hft_lib.parameters import (
    Assumptions,
    BocdParameters,
    GarchParameters,
    KalmanParameters,
    Limits,
    Parameters,
    StrategyParameters,
    parameter_sha256,
)
from hft_lib.stages import orchestrator

PAIR = "BTC/USDT:USDT~BTC/USDT"
HOUR_NS, DAY_NS = 3_600_000_000_000, 86_400_000_000_000
START_NS = 1_735_689_600_000_000_000  # 2025-01-01
CAPITAL = 10_000.0
SLOTS = 4
FEE_RATE, HALF_SPREAD = 4e-4, 1e-4

CHAMPION = Parameters(
    grid_ms=3_600_000,
    kalman=KalmanParameters(
        intercept_drift_var=1e-10,
        hedge_drift_var=1e-10,
        noise_var=4e-6,
        intercept_prior_mean=0.0,
        intercept_prior_var=1e-2,
        hedge_prior_mean=1.0,
        hedge_prior_var=1e-3,
    ),
    garch=GarchParameters(
        mean=0.0, omega=2e-7, alpha=0.08, beta=0.88, variance_prior=5e-6, dof=6.0
    ),
    bocd=BocdParameters(
        hazard=1 / 500, prior_mean=0.0, prior_kappa=1.0, prior_alpha=2.0, prior_beta=2.0
    ),
    strategy=StrategyParameters(
        entry_z=2.0,
        exit_z=0.5,
        stop_z=6.0,
        horizon_s=4 * 3600.0,
        risk_fraction=0.002,
        gross_fraction_max=0.5,
        edge_cost_ratio_min=0.0,
        warmup_s=48 * 3600.0,
    ),
)
PATIENT = msgspec.structs.replace(
    CHAMPION, strategy=msgspec.structs.replace(CHAMPION.strategy, entry_z=1.6)
)


@dataclass
class Account:
    """Positions and what they cost."""

    name: str
    generation: int = -1
    parameters: Parameters | None = None
    warm_ns: int = 0
    whole_ns: int = 0
    position: list[float] = field(default_factory=lambda: [0.0, 0.0])
    cash: float = 0.0
    direction: int = 0
    totals: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("fees", "slippage", "funding", "turnover"), 0.0)
    )
    opening: dict[str, float] = field(default_factory=dict)
    peak: float = 0.0
    deepest: float = 0.0

    def equity(self, mids: tuple[float, float]) -> float:
        """Cash and positions at the mids."""
        return self.cash + self.position[0] * mids[0] + self.position[1] * mids[1]


class Run:
    """The market, hour by hour, and the facts that come of it."""

    def __init__(self, days: int, seed: int, bonus_quote: float, trades: bool) -> None:
        self.days, self.bonus, self.trades = days, bonus_quote, trades
        rng = np.random.default_rng(seed)
        size = days * 24
        self.time_ns = START_NS + 7 * HOUR_NS + HOUR_NS * np.arange(size)
        x = np.log(60_000.0) + np.cumsum(rng.normal(0.0, 0.005, size))
        spread = np.zeros(size)
        shocks = rng.standard_t(6, size) * 0.0015
        for i in range(1, size):
            spread[i] = 0.9 * spread[i - 1] + shocks[i] * (2.5 if i > 0.72 * size else 1.0)
        y = 0.02 + 0.998 * x + spread
        self.mids = np.exp(np.stack((y, x), axis=1))
        self.models(y, x)
        self.accounts = [Account(f"slot-{slot}") for slot in range(SLOTS)] + [Account("capital")]
        config = LineConfig(
            pairs=(
                PairConfig(pair=PAIR, capital_quote=CAPITAL, limits=Limits(daily_loss_max=0.01)),
            ),
            grid_ms=CHAMPION.grid_ms,
            challengers_max=SLOTS - 2,
        )
        self.evop = orchestrator.start(config)
        self.facts: list[Event] = []
        self.pointer = -1
        self.block_start_ns = int(self.time_ns[0])
        self.orders = 0

    def models(self, y: "np.ndarray", x: "np.ndarray") -> None:
        """Filter, volatility and run length over the whole market, from the priors."""
        self.hedge = kalman.run(kalman.params_row(CHAMPION.kalman), y, x)
        row = garch.params_row(CHAMPION.garch)
        self.garch = garch.run(row, self.hedge["innovation"])
        persistence = CHAMPION.garch.alpha + CHAMPION.garch.beta
        ahead = [
            garch.drift(v, CHAMPION.garch.omega, persistence, 3) for v in self.garch["variance"]
        ]
        self.spread_sd = np.sqrt(np.array(ahead))
        self.spread = y - self.hedge["intercept"] - self.hedge["hedge_ratio"] * x
        self.bocd = bocd.run(bocd.params_row(CHAMPION.bocd), self.garch["standardised"])

    def make(self) -> list[Event]:
        """All facts."""
        for alias, params in (("champion", CHAMPION), ("patient", PATIENT)):
            self.control(
                Registered(
                    time_ns=self.block_start_ns,
                    pair=PAIR,
                    alias=alias,
                    parameters=params,
                    parameters_sha256=parameter_sha256(params),
                    model_version="1",
                    run_id="r",
                    git_commit="c",
                    tape_sha256="t",
                )
            )
        for i, time_ns in enumerate(self.time_ns.tolist()):
            self.hour(i, time_ns)
        return self.facts

    def hour(self, i: int, time_ns: int) -> None:
        """One grid point: the day's end if it is due, then decisions, fills and marks."""
        mids = (float(self.mids[i, 0]), float(self.mids[i, 1]))
        if time_ns % DAY_NS == 0:
            self.close_block(time_ns, (float(self.mids[i - 1, 0]), float(self.mids[i - 1, 1])), i)
        for slot, account in enumerate(self.accounts[:-1]):
            if account.parameters is not None and time_ns >= account.warm_ns and self.trades:
                self.decide(i, time_ns, slot, account, mids)
        self.follow(i, time_ns, mids)
        patient = parameter_sha256(PATIENT)
        for account in self.accounts:
            source = self.accounts[self.pointer] if account.name == "capital" else account
            params = source.parameters
            if params is not None and parameter_sha256(params) == patient:
                account.cash += self.bonus / 24
                account.totals["funding"] -= self.bonus / 24
            equity = account.equity(mids)
            account.peak = max(account.peak, equity)
            account.deepest = max(account.deepest, account.peak - equity)
        self.mark(i, time_ns, mids)

    def decide(
        self, i: int, time_ns: int, slot: int, account: Account, mids: tuple[float, float]
    ) -> None:
        """The strategy's rule in four lines."""
        assert account.parameters is not None
        rule, z = account.parameters.strategy, float(self.spread[i] / self.spread_sd[i])
        wanted = account.direction
        if account.direction == 0 and rule.entry_z <= abs(z) < rule.stop_z:
            wanted = -1 if z > 0 else 1
        elif account.direction != 0 and -account.direction * z <= rule.exit_z:
            wanted = 0
        if wanted != account.direction:
            account.direction = wanted
            self.trade(i, time_ns, account, slot, wanted, mids)

    def follow(self, i: int, time_ns: int, mids: tuple[float, float]) -> None:
        """The capital account wants what its slot wants."""
        capital = self.accounts[-1]
        if self.pointer >= 0 and capital.direction != self.accounts[self.pointer].direction:
            capital.direction = self.accounts[self.pointer].direction
            self.trade(i, time_ns, capital, self.pointer, capital.direction, mids)

    def trade(
        self,
        i: int,
        time_ns: int,
        account: Account,
        slot: int,
        direction: int,
        mids: tuple[float, float],
    ) -> None:
        """Orders and fills of both legs to the wanted position."""
        hedge = float(self.hedge["hedge_ratio"][i])
        value = 0.4 * CAPITAL * direction
        goal = (round(value / mids[0], 5), round(-hedge * value / mids[1], 5))
        for leg in (0, 1):
            change = round(goal[leg] - account.position[leg], 5)
            if change == 0.0:
                continue
            side, quantity = ("buy" if change > 0 else "sell"), abs(change)
            price = mids[leg] * (1 + HALF_SPREAD * (1 if change > 0 else -1))
            fee, slippage = FEE_RATE * quantity * price, abs(price - mids[leg]) * quantity
            self.orders += 1
            identity = f"h{self.orders}"
            kind = CapitalOrder if account.name == "capital" else ShadowOrder
            self.facts.append(
                kind(
                    time_ns=time_ns,
                    pair=PAIR,
                    account=account.name,
                    slot=slot,
                    generation=self.accounts[slot].generation,
                    leg="yx"[leg],
                    symbol=PAIR.split("~")[leg],
                    side=side,
                    type="market",
                    quantity=quantity,
                    price=None,
                    reduce_only=direction == 0,
                    purpose="enter" if direction else "exit",
                    attempt=0,
                    client_order_id=identity,
                    parameters_sha256="",
                    expires_ns=time_ns + 2_000_000_000,
                    z=float(self.spread[i] / self.spread_sd[i]),
                    intercept=0.0,
                    hedge_ratio=hedge,
                    spread_sd=float(self.spread_sd[i]),
                    y_mid=mids[0],
                    x_mid=mids[1],
                    run_length=0.0,
                    limits_version=1,
                )
            )
            self.facts.append(
                Fill(
                    time_ns=time_ns,
                    pair=PAIR,
                    account=account.name,
                    slot=slot,
                    generation=self.accounts[slot].generation,
                    leg="yx"[leg],
                    side=side,
                    quantity=quantity,
                    price=price,
                    fee_quote=fee,
                    slippage_quote=slippage,
                    liquidity="taker",
                    client_order_id=identity,
                    trade_id=self.orders,
                )
            )
            account.position[leg] += change
            account.cash -= change * price + fee
            account.totals["fees"] += fee
            account.totals["slippage"] += slippage
            account.totals["turnover"] += quantity * price

    def mark(self, i: int, time_ns: int, mids: tuple[float, float]) -> None:
        """The grid point's fact."""
        if self.pointer < 0:
            return
        self.facts.append(
            Marked(
                time_ns=time_ns,
                pair=PAIR,
                capital_slot=self.pointer,
                y_mid=mids[0],
                x_mid=mids[1],
                intercept=float(self.hedge["intercept"][i]),
                hedge_ratio=float(self.hedge["hedge_ratio"][i]),
                innovation=float(self.hedge["innovation"][i]),
                variance_next=float(self.garch["variance"][i]),
                spread=float(self.spread[i]),
                spread_sd=float(self.spread_sd[i]),
                run_length=float(self.bocd["run_length"][i]),
                recent_probability=float(self.bocd["recent_probability"][i]),
                alarm=bool(self.bocd["recent_probability"][i] > 0.5 and i > 10),
                warm=i >= 48,
                equities_quote=tuple(account.equity(mids) for account in self.accounts),
            )
        )

    def close_block(self, end_ns: int, mids: tuple[float, float], i: int) -> None:
        """The day's block, and EVOP's answer."""
        live = [a for a in self.accounts if a.parameters is not None or a.name == "capital"]
        block = BlockClosed(
            time_ns=end_ns,
            pair=PAIR,
            start_ns=self.block_start_ns,
            end_ns=end_ns,
            capital_slot=self.pointer,
            slots_version=1,
            accounts=tuple(self.account_block(account, mids) for account in live),
            alarm=False,
            volatility_mean=float(np.mean(self.spread_sd[max(0, i - 24) : i])),
            flagged=i // 24 in (9, 61),
        )
        self.facts.append(block)
        self.block_start_ns = end_ns
        for account in self.accounts:
            account.opening = {**account.totals, "equity": account.equity(mids)}
            account.peak, account.deepest = account.opening["equity"], 0.0
        self.control(block)

    def account_block(self, account: Account, mids: tuple[float, float]) -> AccountBlock:
        """One account's day."""
        slot = self.accounts.index(account)
        generation = self.accounts[self.pointer].generation
        past = account.opening
        changes = {name: total - past.get(name, 0.0) for name, total in account.totals.items()}
        return AccountBlock(
            account=account.name,
            slot=-1 if account.name == "capital" else slot,
            generation=generation if account.name == "capital" else account.generation,
            equity_change_quote=account.equity(mids) - past.get("equity", 0.0),
            equity_quote=account.equity(mids),
            fees_quote=changes["fees"],
            slippage_quote=changes["slippage"],
            funding_quote=changes["funding"],
            borrow_quote=0.0,
            turnover_quote=changes["turnover"],
            drawdown_quote=account.deepest,
            active=True,
            whole=account.whole_ns <= self.block_start_ns and self.block_start_ns % DAY_NS == 0,
        )

    def control(self, event: Event) -> None:
        """Let EVOP answer, and do what it says."""
        for fact in orchestrator.step(self.evop, event):
            if isinstance(fact, SlotAssigned):
                warm_ns = fact.effective_ns + round(fact.warmup_s * 1e9)
                self.accounts[fact.slot] = Account(
                    f"slot-{fact.slot}", fact.generation, fact.parameters, warm_ns, warm_ns
                )
            elif isinstance(fact, Promoted | RolledBack):
                first, self.pointer = self.pointer < 0, fact.slot
                if not first:
                    self.accounts[-1].whole_ns = fact.effective_ns
                    self.facts.append(
                        HandedOver(
                            fact.effective_ns,
                            PAIR,
                            fact.slot,
                            fact.generation,
                            fact.time_ns,
                            1.5,
                            False,
                        )
                    )
            self.facts.append(fact)


def rejections() -> list[Event]:
    """What a feed's flaws and a refused entry leave."""
    symbol = PAIR.split("~")[0]
    return [
        Rejected(
            START_NS + HOUR_NS, "ingestion", "CROSSED", symbol, "bid 60001.0 over ask 60000.5"
        ),
        Rejected(START_NS + 2 * HOUR_NS, "ingestion", "DUPLICATE", symbol, "<update> 17 again", 41),
        Rejected(
            START_NS + 3 * HOUR_NS, "execution", "NO_BORROW", f"{PAIR}/slot-1/x", "refused to enter"
        ),
        Rejected(START_NS, "ingestion", "GAP", "ETH/USDT:USDT~ETH/USDT", "of another pair"),
    ]


def record_of(facts: list[Event], **changes: object) -> RunRecord:
    """The record of such facts."""
    given: dict[str, object] = {
        "pair": PAIR,
        "params": {"champion": CHAMPION, "patient": PATIENT},
        "tape": TapeInfo(
            sha256="ab" * 32,
            start_ns=START_NS - 30 * DAY_NS,
            end_ns=START_NS + 300 * DAY_NS,
            rows=1_234_567,
            symbols=tuple(PAIR.split("~")),
            source={"format": "bars", "spread_bps": 2.0},
        ),
        "fit_window": (START_NS - 30 * DAY_NS, START_NS - 1),
        "versions": {"hft-crypto-bot": "0.1.0", "numpy": np.__version__},
        "commit": "0123abc",
        "commands": ("hft demo --tape tape --seed 7 --out runs/demo",),
        "assumptions": Assumptions(borrow_rate_annual=0.08),
        "capital_quote": CAPITAL,
        "config": {"lead_s": 5.0},
        "seed": 7,
        **changes,
    }
    return RunRecord.from_facts(facts, **given)  # type: ignore[arg-type]


def facts_of(
    days: int, seed: int = 5, bonus_quote: float = 0.0, trades: bool = True
) -> list[Event]:
    """The facts of a run over `days` hourly days."""
    return Run(days, seed, bonus_quote, trades).make()
