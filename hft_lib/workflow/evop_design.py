"""Champion and evidence to the next challengers, as EVOP's own design places them.

The explorers stand where the belief is least sure, the recommended set at the step that it holds
for the best. The belief comes from the decision records of a run; without any it is that before all
data, in the default units.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from hft_lib import lineage
from hft_lib.evop import design as designs
from hft_lib.evop.design import Design
from hft_lib.evop.policy import DesignPolicy
from hft_lib.evop.record import DesignRecord
from hft_lib.kernel import sources_sha256
from hft_lib.lineage import Candidate, Version
from hft_lib.lineage.environment import environment_sha256, environment_text
from hft_lib.parameters import Parameters, Provenance, parameter_sha256
from hft_lib.workflow.refusal import Refused, read_json, write_json
from hft_lib.workflow.registration import Origin, register_candidate

ORIGIN = "pipeline evop_design"
# A unit is a step whose effect a desk would notice: a sixth of the usual threshold, a third more
# of a horizon, twice a hazard.
UNITS = {
    "strategy.entry_z": 0.3,
    "strategy.exit_z": 0.15,
    "strategy.horizon_s": 0.3,
    "bocd.hazard": 0.7,
}
EXPLORERS_MAX = 8  # slots are shadow accounts, stepped at each grid point


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a run left to design from: the belief, and the hash of the champion it is about."""

    pair: str
    champion_sha256: str
    decision_id: str
    design: DesignRecord


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """One next challenger: where it stands in coded units from the champion, and its set."""

    name: str
    step: list[float]
    parameters: Parameters


class Designed(msgspec.Struct, frozen=True, kw_only=True):
    """The next challengers of a pair; `decision_id` is of the evidence, empty without any."""

    pair: str
    champion_version: str
    decision_id: str
    names: list[str]
    gradient: list[float]
    challengers: list[Placed]


def design_file(client: Any, pair: str, evidence: str, explorers: int, out: Path | str) -> int:
    """Design from the registry's champion and the evidence at a path ("" for none).

    Returns how many challengers were placed. Raises Refused where the pair has no champion, or the
    evidence is about another.
    """
    if not 1 <= explorers <= EXPLORERS_MAX:
        raise Refused(f"explorers must be from 1 to {EXPLORERS_MAX}, was {explorers}")
    try:
        champion, version = lineage.load_parameters(client, pair, lineage.CHAMPION)
    except lineage.NotRegistered as error:
        raise Refused(f"{error}: register one with the calibration pipeline") from error
    known = read_json(evidence, Evidence) if evidence else None
    found = design(pair, champion, version, known, explorers)
    write_json(out, found)
    return len(found.challengers)


def design(
    pair: str, champion: Parameters, version: Version, known: Evidence | None, explorers: int
) -> Designed:
    """The next challengers round `champion`; Refused where evidence and champion do not agree."""
    belief = _belief(pair, champion, known)
    steps = [
        (f"explorer-{number}", step)
        for number, step in enumerate(designs.explorer_steps(belief, explorers), start=1)
    ]
    recommended = designs.test_step(belief)
    if recommended is not None:
        steps.insert(0, ("recommended", recommended))
    placed = [(name, designs.placed(champion, belief, step)) for name, step in steps]
    return Designed(
        pair=pair,
        champion_version=version.version,
        decision_id=known.decision_id if known else "",
        names=belief.names,
        gradient=belief.gradient,
        challengers=[
            Placed(name=name, parameters=at[0], step=list(at[1])) for name, at in placed if at
        ],
    )


def _belief(pair: str, champion: Parameters, known: Evidence | None) -> Design:
    if known is None:
        return designs.begin(UNITS, DesignPolicy())
    if known.pair != pair:
        raise Refused(f"the evidence must be of {pair}, was of {known.pair}")
    sha256 = parameter_sha256(champion)
    if known.champion_sha256 != sha256:
        raise Refused(
            f"the evidence must be about the champion {sha256[:12]}, was about "
            f"{known.champion_sha256[:12]}: take that of a run with this champion"
        )
    record = known.design
    return Design(
        names=list(record.names),
        units=list(record.units),
        radius=record.radius,
        gradient=list(record.gradient),
        covariance=[list(row) for row in record.covariance],
    )


def enrol_file(client: Any, designed: Path | str, origin: Origin, out: Path | str) -> int:
    """Register the designed challengers and point their aliases at them; returns how many are new.

    Raises Refused where the champion moved since the design: it is not about that one any more.
    """
    found = read_json(designed, Designed)
    parent = lineage.read_version(client, found.pair, lineage.CHAMPION)
    if parent.version != found.champion_version:
        raise Refused(
            f"the champion must still be version {found.champion_version}, was {parent.version}"
        )
    experiment = lineage.experiment_id(client, origin.artifact_location or None)
    made = [
        register_candidate(client, experiment, _candidate(found, parent, item, origin))
        for item in found.challengers
    ]
    write_json(out, made)
    return sum(not item.reused for item in made)


def _candidate(found: Designed, parent: Version, item: Placed, origin: Origin) -> Candidate:
    return Candidate(
        pair=found.pair,
        name=item.name,
        parameters=item.parameters,
        # It was not fitted but stands near its parent: no trial was made on the parent's data.
        provenance=Provenance(
            tape_sha256=parent.tape_sha256,
            start=parent.window_start,
            end=parent.window_end,
            trials=0,
            git_commit=origin.git_commit,
            reference=parent.reference,
        ),
        origin=ORIGIN,
        config_sha256=parent.config_sha256,
        code_sha256=sources_sha256(),
        lock_sha256=origin.lock_sha256,
        environment_sha256=environment_sha256(environment_text()),
        pipeline_run=origin.pipeline_run,
        diagnostics={
            "parent_version": parent.version,
            "decision_id": found.decision_id,
            "step": _coded(found.names, item.step),
        },
    )


def _coded(names: Sequence[str], step: Sequence[float]) -> dict[str, float]:
    return dict(zip(names, step, strict=True))
