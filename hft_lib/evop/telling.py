"""A decision record in a few words: what the verbs print of it and what the page shows.

Records come as the plain documents that the log keeps, so that those of another version can be told
too.
"""

from datetime import UTC, datetime
from typing import Any


def line_of(record: dict[str, Any]) -> dict[str, Any]:
    """One decision: when, what, why, of whom, on which evidence."""
    evidence = record["verdict"]["evidence"]
    return {
        "number": record["number"],
        "decision_id": record["decision_id"],
        "time": _iso(record["time_ns"]),
        "pair": record["pair"],
        "kind": record["kind"],
        "reason": record["reason"],
        "e": evidence["e"] if evidence else None,
        "threshold": record["case"]["threshold"] if evidence else None,
        "champion": _who(record["champion"]),
        "challenger": _who(record["challenger"]),
        "operator": record["operator"] or None,
        "operator_reason": record["reason_given"] or None,
    }


def _who(slot: dict[str, Any] | None) -> dict[str, Any] | None:
    names = ("slot", "generation", "alias", "model_version", "parameters_sha256")
    return {name: slot[name] for name in names} if slot else None


def name_of(slot: dict[str, Any] | None) -> str:
    """How a set is called: by its name in the registry, else by its hash; and where it ran."""
    if slot is None:
        return "-"
    name = slot["alias"] or f"designed {slot['parameters_sha256'][:8]}"
    version = f", v{slot['model_version']}" if slot["model_version"] else ""
    return f"{name} (slot {slot['slot']}{version})"


def _iso(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat()
