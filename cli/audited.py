"""A verb that moves capital or halts it acts between two entries of the audit trail."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cli.console import stderr
from cli.errors import BadInput, Failed, Refused
from serving.adapters.redis_audit import local_trail, trail_of
from serving.runtime.audit import Entry, Outcome, Trail, Unwritable, asked, ended
from serving.runtime.settings import Settings

# How Redis says that its user may not do this, or is none: by name, as Redis may not be loaded.
_DENIALS = ("NoPermissionError", "AuthenticationError")


@contextmanager
def audited(
    settings: Settings,
    verb: str,
    what: dict[str, Any],
    operator: str,
    reason: str,
    whatever: bool = False,
) -> Iterator[None]:
    """Let the block act once it is on record, and put on record how it ended.

    Raises Refused where the trail takes no entry, but for a verb that acts `whatever` happens: it
    says so instead. A block that Redis denies to its user ends as Refused too.
    """
    trail, entry = _begun(settings, verb, what, operator, reason, whatever)
    try:
        yield
    except Failed as error:
        refusal = _refusal(error)
        outcome: Outcome = "refused" if isinstance(refusal, Refused | BadInput) else "failed"
        _end(trail, ended(entry, outcome, str(refusal)))
        if refusal is error:
            raise
        raise refusal from error
    except BaseException as error:
        _end(trail, ended(entry, "failed", type(error).__name__))
        raise
    _end(trail, ended(entry, "done"))


def must_be_said(operator: str, reason: str) -> None:
    """BadInput where nobody says who it is, or why."""
    for option, value in (("--operator", operator), ("--reason", reason)):
        if not value.strip():
            raise BadInput(f"{option} must not be empty, was {value!r}")


def _begun(
    settings: Settings,
    verb: str,
    what: dict[str, Any],
    operator: str,
    reason: str,
    whatever: bool,
) -> tuple[Trail, Entry]:
    """The entry in the trail. Where that takes none, it stands in the file under HFT_HOME, with
    what became of it: refused, or done whatever happens.
    """
    trail, local = trail_of(settings), local_trail(settings)
    try:
        entry = asked(trail, verb, what, operator, reason)
        trail.append(entry)
        return trail, entry
    except Unwritable as error:
        why = f"the audit trail takes no entry: {error}"
        entry = asked(local, verb, what, operator, reason)
        if whatever:
            _warn(f"{why}: `{verb}` acts all the same, and is on record in {local.where} at most")
            _end(local, entry)
            return local, entry
        refusal = Refused(f"`hft {verb}` is refused, {why}")
        _end(local, ended(entry, "refused", str(refusal)))
        raise refusal from error


def _end(trail: Trail, entry: Entry) -> None:
    """Append, after the fact: what cannot be is said."""
    try:
        trail.append(entry)
    except Unwritable as error:
        _warn(f"`{entry.verb}`, {entry.outcome}, is not on record: {error}")


def _warn(what: str) -> None:
    stderr.print(f"warning: {what}", markup=False, soft_wrap=True)


def _refusal(error: Failed) -> Failed:
    """The error, as a refusal where Redis denied it to this user."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ in _DENIALS:
            return Refused(f"this user of Redis may not: {error}")
        cause = cause.__cause__
    return error
