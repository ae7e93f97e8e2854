"""The made-up market that changes its nature: each regime is what it names, all else is plain."""

import json
from pathlib import Path

import numpy as np
import pytest

from hft_lib.events import Quote
from hft_lib.market import synthetic
from hft_lib.market.merge import DAY_NS
from hft_lib.market.synthetic_paths import SyntheticMarket
from hft_lib.market.synthetic_regimes import Regime, check, regime_paths, write

MARKET = SyntheticMarket(
    days=60.0, step_s=300.0, turbulent_start_probability_day=0.0, flaws_per_day=0.0
)
SLOW = Regime(name="slow", start_day=0.0, spread_sd=0.001, spread_half_life_s=3600.0)
QUICK = Regime(
    name="quick",
    start_day=30.0,
    spread_sd=0.003,
    spread_half_life_s=900.0,
    half_quoted_spread_bp=4.0,
)
REGIMES = (SLOW, QUICK)
SPLIT = 30 * 288  # steps of the first regime


def truth(seed: int = 4) -> synthetic.Truth:
    def paths(random, market, time_ns):
        return regime_paths(random, market, time_ns, REGIMES, seed)

    return synthetic.synthesise(seed, MARKET, paths)[1]


def test_each_regime_has_the_spread_that_it_names():
    spread = truth().spread
    for regime, part in zip(REGIMES, (spread[: SPLIT - 1], spread[SPLIT - 1 :]), strict=True):
        carry = float(part[1:] @ part[:-1] / (part[:-1] @ part[:-1]))
        half_life_s = -MARKET.step_s / np.log2(carry)
        assert half_life_s == pytest.approx(regime.spread_half_life_s, rel=0.2)
        assert part.std() == pytest.approx(regime.spread_sd, rel=0.2)


def test_all_but_the_spread_is_the_plain_market():
    changed, plain = truth(), synthetic.synthesise(4, MARKET)[1]
    for name in ("time_ns", "x_log_price", "hedge_ratio", "intercept", "turbulent"):
        assert np.array_equal(getattr(changed, name), getattr(plain, name))
    rest = changed.y_log_price - changed.spread
    assert rest == pytest.approx(plain.y_log_price - plain.spread, abs=1e-12)
    assert changed.outages == plain.outages


def test_quotes_are_as_wide_as_their_regime_says(tmp_path: Path):
    tape = write(4, tmp_path / "tape", MARKET, REGIMES)
    turn_ns = QUICK.start_ns(MARKET)
    widths: dict[bool, list[float]] = {False: [], True: []}
    for event in tape.events():
        if isinstance(event, Quote):
            mid = 0.5 * (event.bid + event.ask)
            widths[event.time_ns >= turn_ns].append(0.5e4 * (event.ask - event.bid) / mid)
    assert np.median(widths[False]) == pytest.approx(0.5, abs=0.1)
    assert np.median(widths[True]) == pytest.approx(4.0, abs=0.1)


def test_one_seed_is_one_market_and_its_tape_names_the_regimes(tmp_path: Path):
    one, again, other = (
        write(seed, tmp_path / str(n), MARKET, REGIMES) for n, seed in enumerate((4, 4, 5))
    )
    assert one.sha256 == again.sha256 != other.sha256
    named = one.manifest.source["regimes"]
    assert [item["name"] for item in named] == ["slow", "quick"]
    days = json.loads((one.path / synthetic.TRUTH).read_text())["days"]
    assert days[40]["spread_sd"] > 2.0 * days[10]["spread_sd"]


def test_a_regime_starts_on_its_day():
    assert QUICK.start_ns(MARKET) == MARKET.start_ns + 30 * DAY_NS


@pytest.mark.parametrize(
    ("regimes", "rule"),
    [
        ((), "the first regime must start on day 0"),
        ((QUICK,), "the first regime must start on day 0"),
        ((SLOW, QUICK, QUICK), "must start after the one before it"),
        (
            (Regime(name="flat", start_day=0.0, spread_sd=0.0, spread_half_life_s=1.0),),
            "must be positive",
        ),
    ],
)
def test_regimes_that_cannot_be_are_refused(regimes, rule):
    with pytest.raises(ValueError, match=rule):
        check(regimes)
