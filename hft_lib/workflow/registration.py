"""What passed the gate becomes versions of the registry, each with all that it came from.

The version says tape, window, commit, code, environment, pipeline run and how many were tried. A
set that the registry holds already is not registered again, so running twice changes nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from hft_lib import lineage
from hft_lib.kernel import sources_sha256
from hft_lib.lineage import Candidate
from hft_lib.lineage.environment import environment_sha256, environment_text
from hft_lib.parameters import Provenance, Set
from hft_lib.workflow.gate import CandidateVerdict, GateVerdict, PairVerdict
from hft_lib.workflow.refusal import read_json, write_json
from hft_lib.workflow.walk_forward import Trials

ORIGIN = "pipeline calibration"


class Origin(Set, frozen=True):
    """What a run is told of itself; `artifact_location` is empty where a server decides."""

    git_commit: str = ""
    lock_sha256: str = ""
    pipeline_run: str = ""
    artifact_location: str = ""


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate in the registry; `reused` says that it was there before."""

    pair: str
    candidate: str
    name: str
    version: str
    run_id: str
    alias: str
    reused: bool


def register_file(
    client: Any,
    verdict: Path | str,
    trials: Sequence[Path | str],
    origin: Origin,
    out: Path | str,
) -> int:
    """Register every candidate that passed, the best first; returns how many were new."""
    judged = read_json(verdict, GateVerdict)
    walks = {walk.pair: walk for walk in (read_json(path, Trials) for path in trials)}
    experiment = lineage.experiment_id(client, origin.artifact_location or None)
    made = []
    for pair in judged.pairs:
        for item in pair.passed:
            found = candidate(walks[pair.pair], judged, pair, item, origin)
            made.append(register_candidate(client, experiment, found))
    write_json(out, made)
    return sum(not item.reused for item in made)


def candidate(
    walk: Trials, judged: GateVerdict, pair: PairVerdict, item: CandidateVerdict, origin: Origin
) -> Candidate:
    """What the registry is told of one candidate that passed."""
    environment = environment_text()
    return Candidate(
        pair=walk.pair,
        name=item.name,
        parameters=walk.parameters[item.name],
        provenance=Provenance(
            tape_sha256=walk.tape_sha256,
            start=walk.fit_start,
            end=walk.fit_end,
            trials=judged.trials,
            git_commit=origin.git_commit,
            reference=walk.reference,
        ),
        origin=ORIGIN,
        config_sha256=walk.config_sha256,
        code_sha256=sources_sha256(),
        lock_sha256=origin.lock_sha256,
        environment_sha256=environment_sha256(environment),
        pipeline_run=origin.pipeline_run,
        metrics=_metrics(pair, item, judged.trials),
        diagnostics={
            "calibration": walk.calibration,
            "gate": msgspec.to_builtins(pair),
            "trials": judged.trials,
            "folds": msgspec.to_builtins(walk.folds),
            "environment": environment.splitlines(),
        },
    )


def _metrics(pair: PairVerdict, item: CandidateVerdict, trials: int) -> dict[str, float]:
    found = {
        "out_of_sample_pnl_quote_per_day": item.pnl_quote_per_day,
        "out_of_sample_days": float(pair.days),
        "sharpe_annual": item.sharpe_annual,
        "deflated_sharpe": item.deflated_sharpe,
        "spa_p": pair.spa_p,
        "reality_check_p": pair.reality_check_p,
        "trials": float(trials),
    }
    return {name: value for name, value in found.items() if value is not None}


def register_candidate(client: Any, experiment: str, found: Candidate) -> Registered:
    """Make `found` a version with its alias, or find the one of equal content."""
    made = lineage.register(client, experiment, found)
    return Registered(
        pair=found.pair,
        candidate=found.name,
        name=made.name,
        version=made.version,
        run_id=made.run_id,
        alias=lineage.seat(client, found.pair, found.name, made.version),
        reused=made.reused,
    )
