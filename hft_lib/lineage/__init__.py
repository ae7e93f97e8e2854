"""The model registry: what a registered parameter set says of itself, and how it is found again.

One registered model a pair, one version a parameter set:

    run       parameters, metrics, `diagnostics.json` and figures: how the set was found
    version   the set as JSON with the code that runs it; tags: pair, content hash, commit, tape
    alias     the part that a version plays now: `champion`, `predecessor`, `challenger-NAME`

A version of equal content is never made twice. Loading compares the content with the hash in the
version's tags, because MLflow reads a lost artifact as an empty folder. The MLflow client is given;
nothing here reads the environment.
"""

from hft_lib.lineage.local import open_local
from hft_lib.lineage.reading import (
    find,
    load_parameters,
    read_aliases,
    read_version,
    read_versions,
)
from hft_lib.lineage.version import (
    CHALLENGER_PREFIX,
    CHAMPION,
    PREDECESSOR,
    Candidate,
    ContentLost,
    NotRegistered,
    Registration,
    RegistryError,
    Version,
    challenger_alias,
    model_name,
)
from hft_lib.lineage.writing import (
    EXPERIMENT,
    delete_alias,
    experiment_id,
    note_decision,
    register,
    seat,
    set_alias,
)

__all__ = [
    "Candidate",
    "challenger_alias",
    "CHALLENGER_PREFIX",
    "CHAMPION",
    "ContentLost",
    "delete_alias",
    "EXPERIMENT",
    "experiment_id",
    "find",
    "load_parameters",
    "model_name",
    "note_decision",
    "NotRegistered",
    "open_local",
    "PREDECESSOR",
    "read_aliases",
    "read_version",
    "read_versions",
    "register",
    "Registration",
    "RegistryError",
    "seat",
    "set_alias",
    "Version",
]
