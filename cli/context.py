"""What several verbs need: the pair in question, the line's configuration, the run's identity."""

import hashlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from cli.errors import BadInput
from hft_lib.line import LineConfig, PairConfig
from hft_lib.market.tape import Tape
from hft_lib.parameters import Assumptions, Evop, ParameterFile, read_parameter_file
from serving.runtime.settings import Settings

_ROOT = Path(__file__).resolve().parent.parent


def read_parameters(path: Path) -> ParameterFile:
    """The parameter file at `path`; BadInput names what is wrong with it."""
    try:
        return read_parameter_file(path.read_bytes())
    except OSError as error:
        raise BadInput(f"parameter file {path}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from error


def resolve_pair(
    wanted: str | None, file: ParameterFile | None, settings: Settings, tape: Tape | None
) -> str:
    """The pair that a verb works on: the one asked for, the file's, the settings', or the tape's only possible one."""
    pair = wanted or (file.pair if file else None)
    if pair is None and len(settings.pairs) == 1:
        pair = settings.pairs[0]
    if pair is None and tape is not None:
        possible = possible_pairs(tape.symbols)
        if len(possible) == 1:
            pair = possible[0]
    if pair is None:
        has = f"; the tape has {', '.join(tape.symbols)}" if tape else ""
        raise BadInput(f"which pair? Name it with --pair Y~X, such as BTC/USDT:USDT~BTC/USDT{has}")
    legs = pair.split("~")
    if len(legs) != 2 or legs[0] == legs[1] or not all(legs):
        raise BadInput(f"a pair must be two symbols Y~X, was {pair!r}")
    missing = [leg for leg in legs if tape is not None and leg not in tape.symbols]
    if tape is not None and missing:
        raise BadInput(
            f"the tape lacks {' and '.join(missing)} of pair {pair}; it has {', '.join(tape.symbols)}"
        )
    return pair


def possible_pairs(symbols: list[str]) -> list[str]:
    """Perpetual against spot of one coin."""
    return [f"{y}~{x}" for y in symbols for x in symbols if ":" in y and y.split(":")[0] == x]


def line_config(
    settings: Settings,
    pair: str,
    grid_ms: int,
    evop: Evop,
    borrow_rate_annual: float | None,
) -> LineConfig:
    """The line of one pair under these settings."""
    return LineConfig(
        pairs=(PairConfig(pair=pair, capital_quote=settings.champion_initial_capital, evop=evop),),
        grid_ms=grid_ms,
        challengers_max=settings.evop_max_challengers,
        assumptions=Assumptions(borrow_rate_annual=borrow_rate_annual),
    )


def content_sha256(value: object) -> str:
    """Hash of a struct's canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


def git_commit() -> str:
    """The commit of the code that runs, with `+` where files differ from it; empty outside a checkout."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(  # nosec B603 B607: a fixed command
        ("git", *arguments), cwd=_ROOT, capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def iso(time_ns: int) -> str:
    """A time in ISO 8601 UTC, to the millisecond."""
    moment = datetime.fromtimestamp(time_ns // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str | None) -> int | None:
    """Nanoseconds of an ISO 8601 time, UTC where it names no zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(
            f"a time must be ISO 8601, such as 2024-08-08T23:55:00Z, was {text!r}"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000) * 1000
