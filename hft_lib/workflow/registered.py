"""What the registry holds of a pair, as the facts that a run starts from."""

from typing import Any

from hft_lib import lineage
from hft_lib.events import Registered


def registered_facts(client: Any, pair: str, time_ns: int) -> list[Registered]:
    """The champion of `pair`, then its challengers by version; each set verified by its hash.

    Raises NotRegistered where there is no champion, ContentLost where a set is lost.
    """
    aliases = lineage.read_aliases(client, pair)
    first = aliases.get(lineage.CHAMPION)
    beside = [
        (int(version), alias)
        for alias, version in aliases.items()
        if alias.startswith(lineage.CHALLENGER_PREFIX) and version != first
    ]
    wanted = [lineage.CHAMPION, *(alias for _, alias in sorted(beside))]
    return [_fact(client, pair, alias, time_ns) for alias in wanted]


def _fact(client: Any, pair: str, alias: str, time_ns: int) -> Registered:
    parameters, version = lineage.load_parameters(client, pair, alias)
    return version.as_fact(time_ns, alias.removeprefix(lineage.CHALLENGER_PREFIX), parameters)
