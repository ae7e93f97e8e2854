"""What the run assumed, each by name with the direction in which it errs."""

from hft_lib.backtest.record import RunRecord
from hft_lib.backtest.report.roles import Costs
from hft_lib.plots.markup import cell, head, table
from hft_lib.plots.words import count, money, number, percent

FLATTERS, BURDENS, EITHER = "flatters", "burdens", "either way"

Row = tuple[str, str, str, str]


def assumptions(record: RunRecord, capital: Costs) -> str:
    """The table of assumptions."""
    columns = [("assumption", "phrase"), ("here", "text"), ("errs", "word"), ("because", "text")]
    rows = [
        [head(name, "phrase"), cell(here, "text"), _direction(errs), cell(why, "text")]
        for name, here, errs, why in assumed(record, capital)
    ]
    return table("Assumptions, and the direction in which each errs", columns, rows)


def _direction(errs: str) -> str:
    kind = {FLATTERS: "flatters", BURDENS: "burdens"}.get(errs, "both")
    return cell(errs, f"word {kind}")


def assumed(record: RunRecord, capital: Costs) -> list[Row]:
    """(name, value here, direction, why) of every assumption that touches this run's result."""
    return [
        *_market(record),
        *_fills(record),
        *_bars(record),
        *_shorting(record, capital),
        (
            "marks at the mid",
            "equity counts positions at the mean of best bid and ask",
            FLATTERS,
            "closing costs half a spread more, until the position is closed",
        ),
        (
            "funding at the mid",
            "the tape's rates, on the mid instead of the exchange's mark price",
            EITHER,
            "mid and mark differ by basis points at the moment of funding",
        ),
        (
            "fees of the public schedule",
            "the taker rate that the tape's instruments carry",
            BURDENS,
            "no volume discount and no rebate is counted",
        ),
        (
            "accounts do not meet",
            "capital and shadows each trade against the same top",
            EITHER,
            "live, capital alone takes the size; a shadow's fill is not tested by the market",
        ),
    ]


def _market(record: RunRecord) -> list[Row]:
    if not record.is_synthetic:
        return []
    return [
        (
            "a made-up market",
            "the spread was made to return, in sample and out",
            FLATTERS,
            "what is earned on it says nothing about a real market",
        )
    ]


def _fills(record: RunRecord) -> list[Row]:
    given = record.assumptions
    latency_ms = (given.order_latency_ns / 1e6, given.response_latency_ns / 1e6)
    return [
        (
            "fills at the top of the book only",
            "a taker order takes the best level's size, the rest is cancelled",
            EITHER,
            "it never pays for the second level, and never trades against it",
        ),
        (
            "taker orders only",
            "no order rests",
            BURDENS,
            "a maker would save the spread at the risk of not being filled",
        ),
        (
            "constant latency",
            f"{number(latency_ms[0])} ms to the exchange, {number(latency_ms[1])} ms back",
            FLATTERS,
            "real delays have tails, and they come when the market moves",
        ),
        (
            "market impact",
            "none",
            FLATTERS,
            "own orders move the price",
        ),
    ]


def _bars(record: RunRecord) -> list[Row]:
    source = record.tape.source
    if source.get("format") != "bars":
        return []
    spread = source.get("spread_bps")
    width = f", {number(float(spread))} bp wide" if isinstance(spread, int | float) else ""
    return [
        (
            "bars as quotes",
            f"one quote a bar at its close{width}",
            EITHER,
            "the real spread is wider in stress and tighter in calm",
        ),
        (
            "bar volume as size",
            "the bar's whole volume stands at the top",
            FLATTERS,
            "the top holds far less at any one time",
        ),
        (
            "nothing inside a bar",
            "stops and limits see closes only",
            FLATTERS,
            "a move that comes back within the bar is never met",
        ),
    ]


def _shorting(record: RunRecord, capital: Costs) -> list[Row]:
    rate = record.assumptions.borrow_rate_annual
    refused = sum(each.count for each in record.rejects if each.reason == "NO_BORROW")
    if rate is not None:
        return [
            (
                "borrowing assumed",
                f"spot can be borrowed without limit at {percent(rate)} a year",
                FLATTERS,
                "coins run out and rates rise when everyone wants to short",
            )
        ]
    if capital.borrow > 0.0:
        paid = money(capital.borrow, record.currency)
        return [
            (
                "borrowing at the instrument's rate",
                f"spot is borrowed without limit; capital paid {paid} for it",
                FLATTERS,
                "coins run out and rates rise when everyone wants to short",
            )
        ]
    if refused:
        here = f"spot is not sold short; {count(refused, 'entry', 'entries')} refused for it"
    else:
        here = "spot is sold short only where its instrument allows it"
    return [("no borrowing assumed", here, BURDENS, "a margin account could take the other side")]
