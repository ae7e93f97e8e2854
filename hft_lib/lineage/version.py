"""What is registered: candidates, versions, the names of models and aliases, what can be wrong."""

import hashlib
import re
from typing import Any

from hft_lib.events import Registered
from hft_lib.parameters import Parameters, Provenance, Reference, Set

CHAMPION, PREDECESSOR = "champion", "predecessor"
CHALLENGER_PREFIX = "challenger-"
# Where a version keeps its parameter set, within its folder.
PARAMETERS_FILE = "artifacts/parameters.json"

_SYMBOL = re.compile(r"([A-Z0-9]+)/([A-Z0-9]+)(?::([A-Z0-9]+))?")
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class RegistryError(Exception):
    """The registry answered, and the answer cannot be used; the text is one sentence."""


class NotRegistered(RegistryError):
    """There is no such version."""


class ContentLost(RegistryError):
    """A version's parameter set is gone, or is not the one that was registered."""


class Candidate(Set, frozen=True):
    """A parameter set to be registered, by name among the pair's candidates, and what led to it.

    `metrics` are finite numbers. `diagnostics` is any JSON: standard errors, convergence, log-
    likelihoods. `origin` says in a few words who made it, such as `calibration` or a decision's id.
    `pipeline_run` and `notebook` name the run or the notebook that it came from, empty for none.
    `environment_sha256` is that of what it was fitted in, by default of what registers it.
    """

    pair: str
    name: str
    parameters: Parameters
    provenance: Provenance
    origin: str = "calibration"
    config_sha256: str = ""
    code_sha256: str = ""
    lock_sha256: str = ""
    environment_sha256: str = ""
    pipeline_run: str = ""
    notebook: str = ""
    metrics: dict[str, float] = {}
    diagnostics: dict[str, Any] = {}


class Version(Set, frozen=True):
    """One registered version; `created_ms` in milliseconds since 1970 UTC.

    `reference` is what its set was calibrated on, None where that was not recorded.
    """

    name: str
    version: str
    pair: str
    run_id: str
    aliases: tuple[str, ...]
    candidate: str
    parameters_sha256: str
    git_commit: str
    tape_sha256: str
    config_sha256: str
    window_start: str
    window_end: str
    created_ms: int
    trials: int = 0
    origin: str = ""
    environment_sha256: str = ""
    pipeline_run: str = ""
    notebook: str = ""
    reference: Reference | None = None

    def as_fact(self, time_ns: int, name: str, parameters: Parameters) -> Registered:
        """What the registry edge says of this version, whose set `parameters` is."""
        return Registered(
            time_ns=time_ns,
            pair=self.pair,
            alias=name,
            parameters=parameters,
            parameters_sha256=self.parameters_sha256,
            model_version=self.version,
            run_id=self.run_id,
            git_commit=self.git_commit,
            tape_sha256=self.tape_sha256,
            reference=self.reference,
        )


class Registration(Set, frozen=True):
    """What `register` came to; `reused` says that the registry had the content already."""

    name: str
    version: str
    run_id: str
    reused: bool


# --- names ---


def model_name(pair: str) -> str:
    """The registered model's name of `pair`: MLflow refuses its slashes and colons.

    >>> model_name("BTC/USDT:USDT~BTC/USDT")
    'BTC-USDT-PERP~BTC-USDT'
    >>> model_name("BTC/USD:BTC~BTC/USDT")
    'BTC-USD-PERP-BTC~BTC-USDT'
    """
    legs = pair.split("~")
    matches = [_SYMBOL.fullmatch(leg) for leg in legs]
    if len(matches) != 2 or not all(matches):
        raise ValueError(f"pair must be Y~X, each BASE/QUOTE or BASE/QUOTE:SETTLE, was {pair}")
    return "~".join(_leg_name(*match.groups()) for match in matches if match)


def _leg_name(base: str, quote: str, settle: str | None) -> str:
    if settle is None:
        return f"{base}-{quote}"
    return f"{base}-{quote}-PERP" if settle == quote else f"{base}-{quote}-PERP-{settle}"


def challenger_alias(name: str) -> str:
    """The alias of the challenger `name`; raises ValueError for a name that MLflow would refuse."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"a candidate's name must be letters, digits, _ or -, was {name!r}")
    return CHALLENGER_PREFIX + name


def sha256(content: bytes) -> str:
    """Hash of a parameter set's bytes, which is that of the set: it is written in one way only."""
    return hashlib.sha256(content).hexdigest()
