"""Flaws of closes side by side: each is named under its own symbol, and clean files have none."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hft_lib.market.flaws import counts
from hft_lib.market.quality import Report, check
from hft_lib.market.tape import DataError

HOUR_MS = 3_600_000
START_MS = 1_699_999_200_000
ROWS = 60
Closes = dict[str, list[float | None]]


def closes() -> Closes:
    """Three coins that move at every bar."""
    rng = np.random.default_rng(1)
    walks = np.exp(0.01 * rng.normal(size=(3, ROWS)).cumsum(axis=1))
    return dict(zip(("BTC", "ETH", "ADA"), walks.tolist()))


def checked(folder: Path, columns: Closes, hours: Any = None) -> Report:
    times = [START_MS + hour * HOUR_MS for hour in (range(ROWS) if hours is None else hours)]
    pq.write_table(pa.table({"ts": times, **columns}), folder / "closes.parquet")
    return check(folder / "closes.parquet")


def test_a_clean_wide_file_has_no_flaw(tmp_path: Path) -> None:
    report = checked(tmp_path, closes())
    assert (report.kind, report.rows, report.flaws) == ("wide bars", ROWS, [])
    assert report.start == "2023-11-14T22:00:00Z" and report.end == "2023-11-17T09:00:00Z"


@pytest.mark.parametrize(
    ("rows", "value", "reason", "count"),
    [
        (range(10, 15), None, "GAP", 5),
        (range(10, 12), float("nan"), "NAN", 2),
        ([30], float("inf"), "NAN", 1),
        ([30], 0.0, "PRICE", 1),
        (range(30, 33), -2.0, "PRICE", 3),
        (range(20, 32), 1.25, "STILL", 12),
        (range(ROWS), 1.0, "STILL", ROWS),
        (range(7), None, "ABSENT", 7),
        (range(50, ROWS), float("nan"), "ABSENT", 10),
        (range(ROWS), None, "ABSENT", ROWS),
    ],
)
def test_a_planted_flaw_is_named_and_counted_under_its_symbol(
    tmp_path: Path, rows: range, value: float | None, reason: str, count: int
) -> None:
    columns = closes()
    for row in rows:
        columns["ETH"][row] = value
    (flaw,) = checked(tmp_path, columns).flaws
    assert (flaw.symbol, flaw.reason, flaw.count) == ("ETH/USDT", reason, count)
    begins = np.datetime64(START_MS + rows[0] * HOUR_MS, "ms").astype("datetime64[s]")
    assert flaw.start == f"{begins}Z"


def test_eleven_equal_closes_may_be_a_quiet_coin(tmp_path: Path) -> None:
    columns = closes()
    columns["ETH"][20:31] = [1.25] * 11
    assert checked(tmp_path, columns).flaws == []


def test_a_column_under_two_names_is_mislabelled(tmp_path: Path) -> None:
    columns = closes()
    columns["COPY"] = columns["ETH"]
    (flaw,) = checked(tmp_path, columns).flaws
    assert {flaw.symbol, flaw.detail.removeprefix("the same closes as ")} == {
        "ETH/USDT",
        "COPY/USDT",
    }
    assert (flaw.reason, flaw.count) == ("MISLABELLED", ROWS)


def test_what_is_wrong_with_the_rows_stands_under_the_files_name(tmp_path: Path) -> None:
    hours = [*range(20), *range(24, 40), 41, 40, *range(41, ROWS + 3)]
    report = checked(tmp_path, closes(), hours)
    assert counts(report.flaws) == {"GAP": 4, "DISORDER": 1, "DUPLICATE": 1}
    assert {flaw.symbol for flaw in report.flaws} == {"closes.parquet"}


def test_a_file_with_its_newest_row_first_is_judged_in_the_order_of_time(tmp_path: Path) -> None:
    columns = closes()
    columns["ADA"][-7:] = [None] * 7  # the oldest rows
    report = checked(tmp_path, columns, range(ROWS)[::-1])
    assert counts(report.flaws) == {"NEWEST_FIRST": ROWS, "ABSENT": 7}
    (absent,) = (flaw for flaw in report.flaws if flaw.reason == "ABSENT")
    assert (absent.start, absent.detail) == ("2023-11-14T22:00:00Z", "no close before the first")


def test_a_column_without_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="closes.parquet has no numbers in column NOTE"):
        checked(tmp_path, {**closes(), "NOTE": ["odd"] * ROWS})  # type: ignore[list-item]


def test_delisted_and_later_listed_coins_of_a_real_file_are_told(market_data: Path) -> None:
    report = check(market_data / "binance_spot_1h_close_202101_202506" / "close_wide.parquet")
    assert report.rows == 38_973
    found = {(flaw.symbol, flaw.reason): flaw.count for flaw in report.flaws if flaw.count > 1_000}
    assert found[("FTT/USDT", "GAP")] == 7_466 and found[("CVC/USDT", "GAP")] == 3_700
    assert found[("WBETH/USDT", "ABSENT")] == 22_288
    assert {reason for _, reason in found} == {"ABSENT", "GAP"}
