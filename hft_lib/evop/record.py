"""The decision record.

All that a pure function needs to recompute a decision, bit for bit, years later.

    judge(case) -> verdict

The orchestrator decides by `judge` and by nothing else, and writes the case beside the verdict;
`recompute` reads the case of a record and judges again. JSON keeps every float to its last bit.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from hft_lib.evop import guards
from hft_lib.evop.design import Lesson, Matrix, Numbers, learn
from hft_lib.evop.evidence import Evidence, accumulate
from hft_lib.evop.guards import Case, Guard
from hft_lib.evop.policy import (
    DAY_NS,
    Bets,
    Standing,
    decide,
    decide_gap,
    decide_rollback,
    policy_json,
)
from hft_lib.parameters import Parameters

RECORD_VERSION = 1


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a case comes to: the decision and all that led to it.

    `before` is the evidence before the last block.
    """

    decision: str
    reason: str
    v: tuple[float, ...]
    before: Evidence | None
    evidence: Evidence | None
    h_plus: float
    guards: tuple[Guard, ...]

    @property
    def e(self) -> float:
        """The e-value, 1 where nothing was bet."""
        return self.evidence.e if self.evidence else 1.0

    @property
    def failing(self) -> tuple[str, ...]:
        """Names of the guards that do not pass."""
        return tuple(guard.name for guard in self.guards if not guard.verdict)


class SlotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A slot as it stood: its set, natural and coded, and where the set came from.

    `alias` is the set's name in the registry, empty for a set that the design made.
    """

    slot: int
    generation: int
    role: str
    alias: str
    parameters: Parameters
    parameters_sha256: str
    coded: tuple[float, ...]
    model_version: str
    run_id: str
    git_commit: str
    tape_sha256: str


class DesignRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The design's belief as it stood."""

    names: tuple[str, ...]
    units: tuple[float, ...]
    radius: float
    gradient: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. `inbox_offset` counts the orchestrator's events.

    `operator` and `reason_given` are an override's.

    `effective_ns` is when it acts (0: it moves nothing), `test_number` the test's number in its
    trailing year.
    """

    version: int
    number: int
    decision_id: str
    kind: str
    reason: str
    pair: str
    time_ns: int
    inbox_offset: int
    effective_ns: int
    policy_sha256: str
    champion: SlotRecord | None
    challenger: SlotRecord | None
    test_number: int
    case: Case
    verdict: Verdict
    design_before: DesignRecord | None
    design_after: DesignRecord | None
    lesson: Lesson | None
    operator: str = ""
    reason_given: str = ""
    handover_cost_quote: float | None = None


# --- judging ---


def judge(case: Case) -> Verdict:
    """The decision that `case` comes to."""
    match case.process:
        case "test":
            return _judge_test(case)
        case "rollback":
            return _judge_rollback(case)
        case "gap":
            return _judge_gap(case)
        case "begin":
            return _judge_begin(case)
        case _:
            return _verdict("given", "", None, None, (), 0.0, ())


def _judge_test(case: Case) -> Verdict:
    v = case.v
    before, after = _accumulated(v, case, case.policy.bets, case.s0)
    h_plus, stressed = guards.haircut(case), after
    if h_plus != 0.0:  # without a haircut the stressed differences are the very same
        cut = guards.haircut_differences(case)
        _, stressed = _accumulated(cut, case, case.policy.bets, case.s0)
    verdicts = tuple(rule(case, after, stressed) for rule in guards.GUARDS)
    standing = Standing(
        e=after.e,
        threshold=case.threshold,
        age_days=(case.time_ns - case.began_ns) / DAY_NS,
        retired=any(guard.name == "tail" and not guard.verdict for guard in verdicts),
        failing=tuple(guard.name for guard in verdicts if not guard.verdict),
    )
    decision, reason = decide(case.policy, standing)
    return _verdict(decision, reason, before, after, v, h_plus, verdicts)


def _judge_rollback(case: Case) -> Verdict:
    v = case.v
    before, after = _accumulated(v, case, case.policy.bets, case.s0)
    scale = case.s0 if case.s0 > 0.0 else after.floor
    behind = 0.0
    for difference in v:
        behind += difference
    decision, reason = decide_rollback(case.policy, after.e, after.active, behind / scale)
    return _verdict(decision, reason, before, after, v, 0.0, ())


def _judge_gap(case: Case) -> Verdict:
    v = case.v
    before, after = _accumulated(v, case, case.policy.bets, case.policy.gap_s0)
    decision, reason = decide_gap(case.policy, after.e)
    return _verdict(decision, reason, before, after, v, guards.haircut(case), ())


def _judge_begin(case: Case) -> Verdict:
    evidence = guards.NO_EVIDENCE
    checks = (
        guards.budget(case),
        guards.tests_of_the_year(case),
        guards.live_twin_gap(case, evidence, evidence),
        guards.barred(case, evidence, evidence),
    )
    failing = [guard.name for guard in checks if not guard.verdict]
    decision = "wait" if failing else "test"
    reason = "held back by " + ", ".join(failing) if failing else "the test slot was free"
    return _verdict(decision, reason, None, None, (), 0.0, checks)


def _accumulated(
    v: Sequence[float], case: Case, bets: Bets, s0: float
) -> tuple[Evidence, Evidence]:
    return accumulate(np.array(v, dtype=np.float64), bets, s0, case.loss_max)


def _verdict(
    decision: str,
    reason: str,
    before: Evidence | None,
    after: Evidence | None,
    v: tuple[float, ...],
    h_plus: float,
    verdicts: tuple[Guard, ...],
) -> Verdict:
    return Verdict(
        decision=decision,
        reason=reason,
        v=v,
        before=before,
        evidence=after,
        h_plus=h_plus,
        guards=verdicts,
    )


# --- records ---


def policy_sha256(case: Case) -> str:
    """Hash of the policy that a case was judged by."""
    return hashlib.sha256(policy_json(case.policy)).hexdigest()


def encode_record(record: Record) -> str:
    """The record as one JSON object with sorted keys."""
    return msgspec.json.encode(record, order="deterministic").decode()


def decode_record(content: str | bytes) -> Record:
    """The record of its JSON; raises msgspec.ValidationError or DecodeError for what is not one."""
    return msgspec.json.decode(content, type=Record)


def recompute(record: dict[str, Any]) -> dict[str, Any]:
    """Judge a record's case again, and learn its lesson again.

    What `recorded` gives when the record is true.
    """
    decoded = msgspec.convert(record, Record)
    verdict = judge(decoded.case)
    return {
        "verdict": msgspec.to_builtins(verdict),
        "failing": list(verdict.failing),
        "e": verdict.e,
        "policy_sha256": policy_sha256(decoded.case),
        "lesson": _relearned(decoded.lesson),
    }


def recorded(record: dict[str, Any]) -> dict[str, Any]:
    """What the record says, in the form of `recompute`."""
    decoded = msgspec.convert(record, Record)
    lesson = decoded.lesson
    return {
        "verdict": msgspec.to_builtins(decoded.verdict),
        "failing": list(decoded.verdict.failing),
        "e": decoded.verdict.e,
        "policy_sha256": decoded.policy_sha256,
        "lesson": _belief(lesson.gradient, lesson.covariance) if lesson else None,
    }


def is_equal(record: dict[str, Any]) -> bool:
    """Whether a record's decision follows, to the last bit, from the case it is filed with."""
    again = recompute(record)
    filed = again["verdict"]["decision"] in (record["kind"], "given")
    return filed and again == recorded(record)


def _relearned(lesson: Lesson | None) -> dict[str, Any] | None:
    return _belief(*learn(lesson)) if lesson else None


def _belief(gradient: Numbers, covariance: Matrix) -> dict[str, Any]:
    return {"gradient": list(gradient), "covariance": [list(row) for row in covariance]}
