"""A line opened with what the registry holds: waited for, until every pair has a champion."""

from collections.abc import Sequence

import structlog

from hft_lib.events import Registered
from hft_lib.lineage import RegistryError
from hft_lib.market.pairs import possible_pairs
from hft_lib.parameters import ParameterFile
from serving.adapters import mlflow_store
from serving.adapters.mlflow_rest import RestError
from serving.adapters.registered_sets import registered_sets
from serving.lines import in_order
from serving.runtime.opening import NotThisLine
from serving.runtime.settings import Settings
from serving.waiting import Waiting

POLL_S = 5.0
Found = tuple[tuple[ParameterFile, ...], list[Registered]]
_log = structlog.get_logger(__name__)


def registered_line(settings: Settings, symbols: Sequence[str], waiting: Waiting) -> Found | None:
    """A file and the facts of each pair, in the order of PAIRS; None where an end was asked for.

    Raises NotThisLine where no registry is named, or the pairs are not known.
    """
    if "mlflow_tracking_uri" not in settings.model_fields_set:
        raise NotThisLine(
            "a line is opened with --params, or with the registry that MLFLOW_TRACKING_URI names, "
            "and both were unset"
        )
    pairs = pairs_of(settings, symbols)
    what = f"the registry has a champion of {' and '.join(pairs)}"
    return waiting.until(what, lambda: _look(settings, pairs), POLL_S)


def pairs_of(settings: Settings, symbols: Sequence[str]) -> tuple[str, ...]:
    """PAIRS, else the only possible pair of the feed; raises NotThisLine where that is not one."""
    pairs = settings.pairs or tuple(possible_pairs(symbols))
    if not settings.pairs and len(pairs) != 1:
        raise NotThisLine(
            f"which pair? Name it with PAIRS or --params: the feed has {', '.join(symbols)}"
        )
    return pairs


def _look(settings: Settings, pairs: Sequence[str]) -> Found | None:
    try:
        client = mlflow_store.open_registry(settings)
        found = [registered_sets(client, pair) for pair in pairs]
    except (mlflow_store.Unreachable, RegistryError, RestError, OSError) as error:
        _log.warning("the line is not opened yet", why=str(error))
        return None
    files = in_order(settings, [file for file, _ in found])
    return files, [item for _, sets in found for item in sets]
