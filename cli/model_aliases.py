"""Where a line's log says that aliases ought to point, against where the registry has them."""

from collections.abc import Iterable, Mapping
from typing import Any

from cli.errors import BadInput
from cli.runs import journals, read_facts, read_header
from hft_lib import lineage
from hft_lib.lineage import CHAMPION, PREDECESSOR, Version
from serving.adapters.alias_log import folded
from serving.runtime.journal import JournalError
from serving.runtime.settings import Settings

REGISTRY, ORCHESTRATOR = "hft.registry", "orchestrator"
FOLLOWED = ("hft demo", "serving all")


def agreement(settings: Settings, versions: Iterable[Version]) -> dict[str, Any]:
    """Whether the aliases are where the log says: `strayed` are those that are not, each with what
    was `found` and what is `wanted` (null: nothing); `edited` were moved by hand and put right.

    `log` names who says it, null where nobody does; `registry_away` and `aliases_waiting` are what
    the registry's edge tells of the line on Kafka.
    """
    told = _of_line(settings) if settings.kafka_bootstrap_servers else _of_run(settings)
    found: dict[str, dict[str, str]] = {}
    for version in versions:
        for alias in version.aliases:
            found.setdefault(version.pair, {})[alias] = version.version
    strayed = [
        {"pair": pair, "alias": alias, "found": had or None, "wanted": wanted or None}
        for pair, aliases in told["aliases"].items()
        for alias, wanted in aliases.items()
        if (had := found.get(pair, {}).get(alias, "")) != wanted
    ]
    return {
        "log": told["log"],
        "strayed": strayed,
        "edited": told.get("edited", []),
        "registry_away": told.get("why", ""),
        "aliases_waiting": told.get("aliases_waiting", []),
    }


def put_right(client: Any, known: dict[str, Any]) -> list[dict[str, Any]]:
    """Move the strayed aliases to where the log says; which. The services do so by themselves.

    Raises ContentLost, and moves no further, where a version is not what was registered.
    """
    if known["log"] == ORCHESTRATOR:
        return []
    for row in known["strayed"]:
        if row["wanted"] is None:
            lineage.delete_alias(client, row["pair"], row["alias"])
        else:
            lineage.load_parameters(client, row["pair"], row["wanted"])
            lineage.set_alias(client, row["pair"], row["alias"], row["wanted"])
    return list(known["strayed"])


def sentences(known: Mapping[str, Any]) -> list[str]:
    """What of the agreement people should read; nothing where all is well."""
    said = [
        f"STRAYED: {row['alias']} of {row['pair']} points to {row['found'] or 'nothing'}, "
        f"the log says {row['wanted'] or 'nothing'}"
        for row in known["strayed"]
    ]
    said += [f"Moved by hand, of {row['pair']}: {row['what']}" for row in known["edited"]]
    if known["registry_away"]:
        said.append(f"The line does not reach the registry: {known['registry_away']}")
    if known["aliases_waiting"]:
        said.append(f"Aliases wait to be moved: {', '.join(known['aliases_waiting'])}")
    return said


def _of_line(settings: Settings) -> dict[str, Any]:
    """What the orchestrator tells Redis of its registry."""
    from serving.adapters.redis_client import connect
    from serving.adapters.redis_directory import Directory, DirectoryError

    nobody: dict[str, Any] = {"log": None, "aliases": {}}
    if settings.redis_url is None:
        return nobody
    try:
        documents = Directory(connect(settings.redis_url), settings.redis_url).documents()
    except DirectoryError as error:
        return {**nobody, "why": f"nobody says where aliases ought to be: {error}"}
    told = documents.get(ORCHESTRATOR, {}).get("registry")
    return {"log": ORCHESTRATOR, **told} if told else nobody


def _of_run(settings: Settings) -> dict[str, Any]:
    """What the journal says of the latest run whose registry follows it.

    `hft run` asks what would have been: it moves no alias.
    """
    for journal in journals(settings):
        try:
            if read_header(journal).command not in FOLLOWED:
                continue
            standings = folded(fact for _, fact in read_facts(journal, (REGISTRY,)))
        except (BadInput, JournalError):
            continue  # another version's: it says nothing of these aliases
        aliases = {
            pair: {
                alias: held.version if held is not None else ""
                for alias, held in standing.aliases.items()
                if alias in (CHAMPION, PREDECESSOR) and (held is None or held.version)
            }
            for pair, standing in standings.items()
        }
        # A champion that EVOP designed has its version from the registry alone.
        sure = {pair: known for pair, known in aliases.items() if known.get(CHAMPION)}
        if sure:
            return {"log": str(journal), "aliases": sure}
    return {"log": None, "aliases": {}}
