"""Made-up coins: one seed, one market, and the truth is in it."""

import numpy as np
import pytest

from hft_lib.market.synthetic_coins import coins


def test_one_seed_is_one_market() -> None:
    one, true = coins(3, hours=200)
    again, _ = coins(3, hours=200)
    other, _ = coins(4, hours=200)
    assert np.array_equal(one.log_mid, again.log_mid)
    assert not np.array_equal(one.log_mid, other.log_mid)
    assert one.log_mid.shape == (12, 200) and one.time_ns.size == 200
    assert true == {"WC00/USDT~C00/USDT", "WC01/USDT~C01/USDT"}
    assert {leg for pair in true for leg in pair.split("~")} <= set(one.symbols)


def test_a_wrapper_stays_near_its_coin_and_coins_part() -> None:
    panel, _ = coins(5, count=3, wrappers=1, hours=2_000)
    assert np.std(panel.log_mid[3] - panel.log_mid[0]) == pytest.approx(0.001, rel=0.3)
    assert np.std(panel.log_mid[1] - panel.log_mid[0]) > 0.02
    with pytest.raises(ValueError, match="wrappers must be from 0 to 3, was 4"):
        coins(5, count=3, wrappers=4)
