"""A decision follows from its record: by our function, and by one that shares no line of it."""

import json
import math

import msgspec
import pytest

from hft_lib.evop.record import Record, decode_record, encode_record, is_equal
from tests.hft_lib.evop.world import BETTER, World, turned_world, world

DAY_NS = 86_400_000_000_000


def promotion() -> dict:
    return json.loads(world(BETTER, ("bold", 1.5)).run(90).records("promote")[0].record)


def recomputed_by_hand(record: dict) -> dict:
    """e, w, s2, the guards and the decision of a test, from the JSON alone, in plain Python."""
    case, policy = record["case"], record["case"]["policy"]
    capital, bets, blocks = case["capital_quote"], policy["bets"], record["case"]["blocks"]
    floor = max(case["s0"], case["loss_max"] / bets["clip"])
    c, w, s2 = bets["clip"], list(bets["shares"]), case["s0"] ** 2
    active, v_prev, v_all = 0, 0.0, []
    for _, change, base, *_ in blocks:
        v = (change - base) / capital
        v_all.append(v)
        if v == 0.0:
            continue
        y = min(max(v / max(math.sqrt(s2), floor), -c), c)
        w = [w[j] * (1.0 + bets["stakes"][j] * y) for j in range(3)]
        if active:
            s2 = s2 + bets["decay"] * (min((v - v_prev) * (v - v_prev) / 2.0, c * c * s2) - s2)
        active, v_prev = active + 1, v
    e = w[0] + w[1] + w[2]

    def worst(column: int) -> float:
        return max(-min(block[column] for block in blocks), 0.0) / capital

    def drawdown(column: int) -> float:
        equity = peak = deepest = 0.0
        for block in blocks:
            equity += block[column]
            peak, deepest = max(peak, equity), max(deepest, max(peak, equity) - equity)
        return deepest / capital

    history, thirds = sorted(case["volatilities"]), [0, 0, 0]
    seen: dict[float, int] = {}
    for v, block in zip(v_all, blocks, strict=True):
        if v != 0.0:
            rank = sum(value < block[7] for value in history) + seen.get(block[7], 0)
            seen[block[7]] = seen.get(block[7], 0) + 1
            thirds[min(3 * rank // len(history), 2)] += 1
    stressed = [
        v - (policy["cost_stress"] - 1.0) / capital * (block[3] - block[4])
        for v, block in zip(v_all, blocks, strict=True)
    ]
    quiet_days = (case["time_ns"] - case["alarm_ns"]) / DAY_NS
    settled_days = (case["time_ns"] - case["changed_ns"]) / DAY_NS
    ratio = policy["twin_risk_ratio_max"]
    guards = {
        "minimum_sample": active >= policy["blocks_min"],
        "tail": min(v_all) >= -c * floor,
        "worst_block": worst(1) <= max(ratio * worst(2), floor),
        "drawdown": drawdown(1) <= max(ratio * drawdown(2), floor),
        "cost_stress": sum(stressed) > 0.0,
        "turnover_haircut": e >= case["threshold"],  # turnovers are equal in these worlds
        "live_twin_gap": not case["frozen"],
        "changepoint": case["alarm_ns"] == 0 or quiet_days >= policy["alarm_quiet_days"],
        "regimes": sum(n >= policy["regime_blocks_min"] for n in thirds) >= policy["regimes_min"],
        "cool_down": settled_days >= policy["cool_down_days"],
        "barred": case["barred_until_ns"] <= case["time_ns"],
    }
    days = (case["time_ns"] - case["began_ns"]) / DAY_NS
    if not guards["tail"] or e < policy["drop_below"]:
        decision = "drop"
    elif e >= case["threshold"] and all(guards.values()):
        decision = "promote"
    elif days >= policy["life_days_max"] or (
        days >= policy["life_days"] and e < policy["extend_e"]
    ):
        decision = "expire"
    else:
        decision = "refuse" if e >= case["threshold"] else "continue"
    return {"w": w, "e": e, "s2": s2, "floor": floor, "guards": guards, "decision": decision}


def alarmed_world() -> World:
    made = world(BETTER, ("bold", 1.5), ("worse", 2.7))
    made.alarm = lambda day: day == 27
    return made


def turned_back_world() -> World:
    return turned_world(("other", 1.4))


@pytest.mark.parametrize(
    "make, kinds",
    [(alarmed_world, {"promote", "drop"}), (turned_back_world, {"refuse", "promote", "expire"})],
)
def test_an_independent_recomputation_agrees_to_the_last_bit(make, kinds):
    records = [json.loads(fact.record) for fact in make().run(200).records()]
    tests = [record for record in records if record["case"]["process"] == "test"]
    assert kinds == {record["kind"] for record in tests}
    for record in tests:
        found, verdict = recomputed_by_hand(record), record["verdict"]
        assert found["decision"] == verdict["decision"] == record["kind"]
        assert found["e"] == verdict["evidence"]["e"]
        assert found["w"] == verdict["evidence"]["w"]
        assert found["s2"] == verdict["evidence"]["s2"]
        assert found["floor"] == verdict["evidence"]["floor"]
        assert found["guards"] == {one["name"]: one["verdict"] for one in verdict["guards"]}


def test_a_record_survives_json_to_the_last_bit():
    content = world(BETTER, ("bold", 1.5)).run(90).records("promote")[0].record
    assert encode_record(decode_record(content)) == content


def test_a_record_holds_what_traces_it():
    record = promotion()
    assert record["champion"]["run_id"] == "run-champion"
    assert record["challenger"]["git_commit"] == "c0ffee"
    assert record["challenger"]["tape_sha256"] == "7a9e"
    assert record["challenger"]["parameters"]["strategy"]["entry_z"] == 1.5
    assert record["test_number"] == 1
    assert record["inbox_offset"] == record["verdict"]["evidence"]["blocks"] + 2
    assert len(record["policy_sha256"]) == 64
    assert record["case"]["limits"] == list(
        msgspec.to_builtins(decode_record(json.dumps(record)).case.limits)
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["case"]["blocks"][0].__setitem__(1, 11.0),
        lambda record: record["verdict"]["evidence"].__setitem__("s2", 1.0),
        lambda record: record["verdict"]["guards"][0].__setitem__("verdict", False),
        lambda record: record.__setitem__("kind", "drop"),
        lambda record: record["case"]["policy"].__setitem__("alpha", 0.06),
        lambda record: record["case"].__setitem__("frozen", True),
    ],
)
def test_a_change_of_any_part_shows(change):
    record = promotion()
    assert is_equal(record)
    change(record)
    assert not is_equal(record)


def test_what_is_no_record_is_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "promote"}, Record)
