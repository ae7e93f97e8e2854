"""The rules of promotion.

Every constant in one immutable value, and what follows from where a process stands.

A test of a challenger against the champion's twin is promoted when its e reaches T at a block's
close and all guards pass; dropped below `drop_below`; ended at `life_days`, or at `life_days_max`
where e had reached `extend_e`. A test is charged 1/T when it begins; the charges of a trailing
year, all pairs together, stay within `alpha`, which bounds the chance of any false promotion in a
year (Ville's inequality, summed over the tests).
"""

import msgspec

from hft_lib.parameters import Limits, Set

DAY_NS = 86_400_000_000_000
YEAR_DAYS = 365


class Bets(Set, frozen=True):
    """Constants of the bets, named as in the equations of `evidence.py`.

    `clip` is c, `stakes` the lam_j, `shares` the w_j(0), `decay` the a of the equations.
    """

    clip: float = 5.0
    stakes: tuple[float, float, float] = (1.0 / 5.0, 1.0 / 10.0, 1.0 / 20.0)
    shares: tuple[float, float, float] = (0.5, 0.25, 0.25)
    decay: float = 0.02

    def __post_init__(self) -> None:
        if not self.clip > 0.0:
            raise ValueError(f"clip must be positive, was {self.clip}")
        if not all(0.0 < stake * self.clip <= 1.0 for stake in self.stakes):
            raise ValueError(f"stakes must lie in (0, 1/clip], were {self.stakes}")
        if not (all(share >= 0.0 for share in self.shares) and abs(sum(self.shares) - 1.0) < 1e-12):
            raise ValueError(f"shares must be at least 0 and sum to 1, were {self.shares}")
        if not 0.0 <= self.decay <= 1.0:
            raise ValueError(f"decay must lie in [0, 1], was {self.decay}")


class DesignPolicy(Set, frozen=True):
    """How the region round the champion is explored.

    Radii are in coded units, `gain_hoped` in champion-Sharpes.
    """

    period_days: int = 30
    blocks_min: int = 10
    radius: float = 0.5
    radius_min: float = 0.2
    radius_max: float = 2.0
    radius_growth: float = 1.3
    radius_decay: float = 0.75
    gain_hoped: float = 10.0
    curvature: float = 0.22
    gradient_decay: float = 0.7
    renewal: float = 0.3


class Policy(Set, frozen=True):
    """All constants of EVOP.

    A change of any is a change of policy and shows in the hash of every record.
    """

    alpha: float = 0.05
    tests_a_year: int = 6
    bets: Bets = Bets()
    drop_below: float = 0.15
    life_days: int = 90
    life_days_max: int = 180
    extend_e: float = 3.0
    # the champion's gain of one block is at most its leg's cap times this move of the spread
    spread_stress_move: float = 0.02
    # guards
    blocks_min: int = 20
    twin_risk_ratio_max: float = 1.25
    cost_stress: float = 2.0
    regime_blocks_min: int = 5
    regimes_min: int = 2
    alarm_quiet_days: int = 3
    cool_down_days: int = 14
    barred_days: int = 90
    haircut_blocks_min: int = 10
    haircut_sds: float = 2.0
    # the live account against the twin
    gap_threshold: float = 20.0
    gap_s0: float = 0.0003
    # back to the predecessor
    rollback_threshold: float = 10.0
    rollback_blocks_min: int = 10
    rollback_days: int = 90
    hard_loss_s0: float = 20.0
    design: DesignPolicy = DesignPolicy()

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < 1.0:
            raise ValueError(f"alpha must be between 0 and 1, was {self.alpha}")
        if self.tests_a_year < 1:
            raise ValueError(f"tests_a_year must be at least 1, was {self.tests_a_year}")
        if not 0.0 <= self.drop_below < 1.0:
            raise ValueError(f"drop_below must lie in [0, 1), was {self.drop_below}")
        if not 0 < self.life_days <= self.life_days_max:
            raise ValueError(
                f"life_days must be in [1, {self.life_days_max}], was {self.life_days}"
            )


def policy_json(policy: Policy) -> bytes:
    """The policy as canonical JSON: the same policy, the same bytes."""
    return msgspec.json.encode(policy, order="deterministic")


def promotion_threshold(policy: Policy, pairs: int) -> float:
    """T: what e must reach, for tests of a line of `pairs` pairs. 120 for one pair by default."""
    return policy.tests_a_year / policy.alpha * pairs


def loss_max(policy: Policy, limits: Limits, leg_cap: float) -> float:
    """L_max, the largest fall of v in one block.

    The challenger's loss limit plus the champion's largest gain.

    No limit stands behind a gain, so it is the cap of the champion's leg, `leg_cap`, times a
    stressed move of the spread. All are fractions of the capital share.
    """
    return (
        limits.daily_loss_max
        + min(leg_cap, limits.position_notional_max) * policy.spread_stress_move
    )


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a test stands at a block's close; `failing` names the guards that do not pass."""

    e: float
    threshold: float
    age_days: float
    retired: bool
    failing: tuple[str, ...]


def decide(policy: Policy, standing: Standing) -> tuple[str, str]:
    """What becomes of a test: promote, refuse, drop, expire or continue.

    And the reason in a few words.
    """
    if standing.retired:
        return "drop", "a block fell below the bound of the proof"
    if standing.e < policy.drop_below:
        return "drop", f"e fell below {policy.drop_below}"
    if standing.e >= standing.threshold and not standing.failing:
        return "promote", f"e reached {standing.threshold} and every guard passed"
    if standing.age_days >= policy.life_days_max:
        return "expire", f"{policy.life_days_max} days without a promotion"
    if standing.age_days >= policy.life_days and standing.e < policy.extend_e:
        return "expire", f"{policy.life_days} days with e below {policy.extend_e}"
    if standing.e >= standing.threshold:
        return "refuse", "held back by " + ", ".join(standing.failing)
    return "continue", ""


def decide_rollback(policy: Policy, e: float, blocks: int, loss_s0: float) -> tuple[str, str]:
    """Whether the predecessor takes the capital back.

    `loss_s0` is what the champion lost to it, in s0.
    """
    if loss_s0 >= policy.hard_loss_s0:
        return "rollback", f"{policy.hard_loss_s0} s0 behind the predecessor"
    if e >= policy.rollback_threshold and blocks >= policy.rollback_blocks_min:
        return "rollback", f"e of the predecessor reached {policy.rollback_threshold}"
    return "continue", ""


def decide_gap(policy: Policy, e: float) -> tuple[str, str]:
    """Whether the twin flatters.

    Then promotions are frozen until the fills are refitted and the pair resumed.
    """
    if e >= policy.gap_threshold:
        return "freeze", f"e of twin less live reached {policy.gap_threshold}"
    return "continue", ""
