"""The market and the sets of `hft demo --scenario regime-change`, of which every truth is designed.

    slow    the spread comes back in hours, quotes are some basis points wide: trade seldom
    quick   it comes back in minutes and quotes are tight: trade often
    dear    as quick, but quotes are wide: trade often, where a trade earns what it costs

What is promoted, dropped and rolled back nobody decides here: the sets below are registered like
any others, and EVOP's rules do the rest. The markets of seeds 1 to 14 all tell the same story, on
days that differ by some weeks.
"""

from hft_lib.backtest.candidates import with_strategy
from hft_lib.market.merge import DAY_NS
from hft_lib.market.synthetic_paths import SyntheticMarket
from hft_lib.market.synthetic_regimes import Regime
from hft_lib.parameters import Challenger, Parameters

VERSION = 1  # of the market's making: another one must not find the tapes of this
HISTORY_DAYS = 200  # what the pipeline calibrates on; all of it slow
TRADED_DAYS = 130
QUICK_DAY, DEAR_DAY = 30, 77  # of the traded ones

# Constant volatility and no turbulent days: the models stay right, so what changes is what a set's
# manner of trading is worth. The taker fee is that of a large account.
MARKET = SyntheticMarket(
    days=float(HISTORY_DAYS + TRADED_DAYS),
    step_s=600.0,
    taker_fee_rate=0.0001,
    hedge_sd_day=0.00005,
    intercept_sd_day=0.0001,
    spread_garch_alpha=0.03,
    spread_garch_beta=0.90,
    turbulent_start_probability_day=0.0,
    break_size=0.0,
)
PAIR = f"{MARKET.y_symbol}~{MARKET.x_symbol}"
_SPREAD_SD, _QUICK_S = 0.0020, 1200.0
REGIMES = (
    Regime(
        name="slow",
        start_day=0.0,
        spread_sd=_SPREAD_SD,
        spread_half_life_s=7200.0,
        half_quoted_spread_bp=3.2,
    ),
    Regime(
        name="quick",
        start_day=float(HISTORY_DAYS + QUICK_DAY),
        spread_sd=_SPREAD_SD,
        spread_half_life_s=_QUICK_S,
        half_quoted_spread_bp=0.5,
    ),
    Regime(
        name="dear",
        start_day=float(HISTORY_DAYS + DEAR_DAY),
        spread_sd=_SPREAD_SD,
        spread_half_life_s=_QUICK_S,
        half_quoted_spread_bp=5.8,
    ),
)

BAD, BETTER, LUCKY = "hasty", "careful", "careless"
IDEAS = {
    BAD: "leaves when a tenth of a deviation is won: less than what its trades cost",
    BETTER: "enters at one deviation wherever that pays for the trade: much better once quick",
    LUCKY: "enters at 0.8 deviations whatever a trade costs: best while quotes are tight",
}


def split_ns() -> int:
    """Where history ends and trading begins."""
    return MARKET.start_ns + HISTORY_DAYS * DAY_NS


def ideas(champion: Parameters) -> list[Challenger]:
    """The sets planted beside `champion`, in the order in which they ask for a test."""
    often = {"exit_z": 0.2, "stop_z": 5.0}
    return [
        Challenger(
            name=BAD,
            params=with_strategy(
                champion, entry_z=0.8, exit_z=0.7, stop_z=5.0, edge_cost_ratio_min=0.0
            ),
        ),
        Challenger(
            name=BETTER,
            params=with_strategy(
                champion, entry_z=1.0, edge_cost_ratio_min=1.0, gross_fraction_max=1.15, **often
            ),
        ),
        Challenger(
            name=LUCKY,
            params=with_strategy(
                champion, entry_z=0.8, edge_cost_ratio_min=0.0, gross_fraction_max=1.4, **often
            ),
        ),
    ]
