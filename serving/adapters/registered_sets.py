"""What a line is opened with where no file is named: what the registry holds of a pair."""

from typing import Any

from hft_lib import lineage
from hft_lib.events import Registered
from hft_lib.lineage import CHAMPION
from hft_lib.parameters import Challenger, Evop, ParameterFile, Provenance
from serving.adapters.mlflow_registry import MlflowRegistry
from serving.runtime.identity import git_commit


def registered_sets(client: Any, pair: str) -> tuple[ParameterFile, list[Registered]]:
    """The champion of `pair` and its challengers, as a file and as facts at time 0.

    Raises NotRegistered where it has no champion, ContentLost where that one's set is lost.
    """
    edge = MlflowRegistry(client, None)
    try:
        facts = edge.registered(pair, 0)
    finally:
        edge.close()
    if not facts or facts[0].alias != CHAMPION:
        raise lineage.NotRegistered(f"the registry has no champion of {pair}")
    known = lineage.read_version(client, pair, CHAMPION)
    champion, *others = facts
    file = ParameterFile(
        pair=pair,
        params=champion.parameters,
        evop=Evop(),
        provenance=Provenance(
            tape_sha256=known.tape_sha256,
            start=known.window_start,
            end=known.window_end,
            trials=len(facts),
            git_commit=known.git_commit or git_commit(),
            reference=known.reference,
        ),
        challengers=tuple(Challenger(name=item.alias, params=item.parameters) for item in others),
    )
    return file, facts
