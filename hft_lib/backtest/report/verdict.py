"""The first thing that is read: one sentence with its evidence, then three numbers, each with its
band.
"""

from dataclasses import dataclass

import numpy as np

from hft_lib.backtest.record import CAPITAL, RunRecord
from hft_lib.backtest.report.bands import DAYS_MIN, Band, Bands, bands, capital_days
from hft_lib.backtest.report.evidence import Test
from hft_lib.backtest.report.roles import Costs, Tenure, described
from hft_lib.events import Promoted, RolledBack
from hft_lib.evop.policy import Policy
from hft_lib.plots import drawdown
from hft_lib.plots.words import count, day, money, number, percent

_ENDINGS = {
    "promote": "ended in its promotion",
    "drop": "was dropped",
    "expire": "expired",
    "rollback": "was void with a rollback",
    "freeze": "was void with a freeze",
}


@dataclass(frozen=True)
class Figure:
    """One of the three numbers: what it is, what it says, and how sure it is."""

    name: str
    value: str
    band: str


def sentence(record: RunRecord, held: list[Tenure], made: list[Test]) -> str:
    """What became of the capital and why, in one sentence; names stand in backquotes."""
    if not record.moves:
        return "No parameter set held the capital: nothing was at stake."
    if len(record.moves) > 1:
        return _moved(record, held, record.moves[-1])
    champion = next((tenure.name for tenure in held if tenure.role == "champion"), "")
    named = champion and champion != "champion"
    kept = f"Kept the champion `{champion}`" if named else "Kept the champion"
    if made:
        return f"{kept}: {_tested(made[-1])}"
    whole, least = whole_blocks(record), blocks_min(record)
    return f"{kept}: {whole} whole {_plural(whole)} of {least}: continue."


def _plural(blocks: int) -> str:
    return "block" if blocks == 1 else "blocks"


def _moved(record: RunRecord, held: list[Tenure], move: Promoted | RolledBack) -> str:
    name = next(
        (t.name for t in held if (t.slot, t.generation) == (move.slot, move.generation)),
        f"slot {move.slot}",
    )
    found = next((d.record for d in record.decisions if d.decision_id == move.decision_id), None)
    when = day(move.effective_ns)
    if found is None or found.verdict.evidence is None:
        verb = "took capital" if isinstance(move, Promoted) else "got the capital back"
        return f"`{name}` {verb} on {when}; the run holds no evidence for it."
    blocks, e, threshold = len(found.case.blocks), number(found.verdict.e, 3), found.case.threshold
    if isinstance(move, RolledBack):
        return (
            f"The predecessor `{name}` got the capital back on {when} after "
            f"{count(blocks, 'block')}: {found.reason}; e = {e}, threshold {number(threshold)}."
        )
    apart = ""
    if found.champion is not None and found.challenger is not None:
        apart = described(found.champion.parameters, found.challenger.parameters)
    return (
        f"Challenger `{name}`{', ' + apart if apart else ''}, took capital on {when} after "
        f"{count(blocks, 'block')}: e = {e}, threshold {number(threshold)}."
    )


def _tested(test: Test) -> str:
    path, blocks = test.path, len(test.blocks)
    e = number(float(path.e[-1]) if path.e.size else 1.0, 3)
    least = test.begun.case.policy.blocks_min
    if test.ended is None:
        return continues(path.name, blocks, least, e, path.threshold)
    ending = f"{_ENDINGS[test.ended.kind]} on {day(path.outcome_ns)}"
    return (
        f"the test of challenger `{path.name}` {ending} "
        f"after {count(blocks, 'whole block')}, e = {e}, threshold {number(path.threshold)}."
    )


def continues(name: str, blocks: int, blocks_min: int, e: str, threshold: float) -> str:
    """What is said of a test that runs; its name stands in backquotes."""
    return (
        f"the test of challenger `{name}` continues, {blocks} whole {_plural(blocks)} "
        f"of at least {blocks_min}, e = {e}, threshold {number(threshold)}."
    )


def whole_blocks(record: RunRecord) -> int:
    """Blocks over which the capital account was whole."""
    accounts = [account for block in record.blocks for account in block.accounts]
    return sum(account.account == CAPITAL and account.whole for account in accounts)


def blocks_min(record: RunRecord) -> int:
    """Active blocks that a promotion needs, by the policy that the run recorded, else the default
    one.
    """
    cases = (decision.record.case for decision in record.decisions if decision.record)
    return next((case.policy.blocks_min for case in cases), Policy().blocks_min)


# --- the three numbers ---


def three_numbers(record: RunRecord, capital: Costs) -> list[Figure]:
    """PnL after costs, worst drawdown, share of gross eaten by costs."""
    days = capital_days(record)
    found = bands(days, record.seed)
    why = _no_band(days.change.size)
    return [
        _pnl(record, capital, found, why),
        _worst(record, found, why),
        _share(capital, found, why),
    ]


def _no_band(days: int) -> str:
    return f"not enough days for a band: {days} whole of at least {DAYS_MIN}"


def _pnl(record: RunRecord, capital: Costs, found: Bands | None, why: str) -> Figure:
    band = why
    if found is not None:
        low, high = found.pnl.low, found.pnl.high
        sign = ", which includes zero" if low <= 0.0 <= high else ""
        band = f"{_money_band(found.pnl, record.currency)}{sign}"
    if capital.fills == 0:
        band = f"no trade was made; {band}"
    return Figure("PnL after costs", money(capital.net, record.currency), band)


def _worst(record: RunRecord, found: Bands | None, why: str) -> Figure:
    equity = record.marks.capital_quote
    at_marks = -float(np.min(drawdown(equity), initial=0.0)) if equity.size else 0.0
    accounts = [account for block in record.blocks for account in block.accounts]
    within_days = [each.drawdown_quote for each in accounts if each.account == CAPITAL]
    told = float(record.marks.drawdown_max_quote.max(initial=0.0))
    deepest = max(at_marks, told, *within_days, 0.0)
    band = _money_band(found.drawdown, record.currency) if found else why
    share = f"{percent(deepest / record.capital_quote)} of the capital share; "
    value = money(deepest, record.currency)
    return Figure("Worst drawdown", value, f"{share}{band}")


def _share(capital: Costs, found: Bands | None, why: str) -> Figure:
    name = "Share of gross eaten by costs"
    if capital.fills == 0:
        return Figure(name, "none", "no trade was made, nothing was paid")
    band = why
    if found is not None:
        high = "no upper end" if found.cost_share.high == np.inf else percent(found.cost_share.high)
        low = "no gain" if found.cost_share.low == np.inf else percent(found.cost_share.low)
        band = f"90 % band from {low} to {high}"
        if low == "no gain":
            band = "in 95 % of resampled runs nothing was gained before costs"
    if capital.gross <= 0.0:
        return Figure(name, "no gain to eat", f"gross was a loss before any cost; {band}")
    if capital.paid < 0.0:
        return Figure(name, "nothing", "funding brought in more than all costs took")
    return Figure(name, percent(capital.paid / capital.gross), band)


def _money_band(band: Band, currency: str) -> str:
    return f"90 % band from {money(band.low, currency)} to {money(band.high, currency)}"
