"""The configuration of one account's line of stages: what every stage is started from."""

from collections.abc import Iterable, Iterator

from hft_lib.events import Event, Registered, RegistryRead
from hft_lib.evop.policy import Policy
from hft_lib.parameters import (
    Assumptions,
    Evop,
    Limits,
    ParameterFile,
    Parameters,
    Set,
    parameter_sha256,
)


class PairConfig(Set):
    """One pair `y~x` of an account with its capital share in the quote currency, its limits and
    EVOP scales.
    """

    pair: str
    capital_quote: float
    limits: Limits = Limits()
    evop: Evop = Evop()

    @property
    def y(self) -> str:
        """Symbol of the dependent leg."""
        return self.pair.split("~")[0]

    @property
    def x(self) -> str:
        """Symbol of the independent leg."""
        return self.pair.split("~")[1]


class LineConfig(Set):
    """A line: its pairs in one order, the number of slots, the grid, the assumptions of simulated
    fills, the policy.

    `account_epoch` is 0 unless a real venue account was opened. `lead_s` is the time between a
    block's end and the moment at which what was decided on it takes effect.
    """

    pairs: tuple[PairConfig, ...]
    grid_ms: int
    challengers_max: int = 4
    lead_s: float = 5.0
    account_epoch: int = 0
    handover_s_max: float = 86_400.0
    assumptions: Assumptions = Assumptions()
    policy: Policy = Policy()

    @property
    def slots(self) -> int:
        """Rows of every slot table: the champion, the challengers, the predecessor."""
        return self.challengers_max + 2


def registrations(file: ParameterFile, time_ns: int) -> list[Registered]:
    """What the registry would say of a parameter file: champion, then challengers in order."""
    named: list[tuple[str, Parameters]] = [("champion", file.params)]
    named += [(f"challenger-{item.name}", item.params) for item in file.challengers]
    return [
        Registered(
            time_ns=time_ns,
            pair=file.pair,
            alias=alias,
            parameters=params,
            parameters_sha256=parameter_sha256(params),
            model_version="",
            run_id="",
            git_commit=file.provenance.git_commit,
            tape_sha256=file.provenance.tape_sha256,
            reference=file.provenance.reference,
        )
        for alias, params in named
    ]


def registry_words(sets: Iterable[Registered]) -> Iterator[Event]:
    """What the registry edge says at a start: its sets, and of each pair that these were all."""
    times: dict[str, int] = {}
    for registered in sets:
        times[registered.pair] = registered.time_ns
        yield registered
    for pair, time_ns in times.items():
        yield RegistryRead(time_ns, pair)
