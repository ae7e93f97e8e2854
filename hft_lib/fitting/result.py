"""What a fit returns, and how it is refused."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from hft_lib.parameters import Set

P = TypeVar("P", bound=Set)


class FitRefused(ValueError):
    """The data cannot be fitted: the message gives the rule and the value."""

    def __init__(self, rule: str, value: object) -> None:
        super().__init__(f"{rule}, was {value}")
        self.rule = rule
        self.value = value


@dataclass(frozen=True)
class Fit(Generic[P]):
    """Parameters at the maximum of the likelihood, and how far to trust them.

    `standard_errors` are of the parameters searched for, None where the maximum is at a bound or
    the likelihood is flat. `converged` is false when gradient or curvature say that this is no
    maximum; `reason` says what was met.
    """

    params: P
    standard_errors: dict[str, float | None]
    log_likelihood: float
    converged: bool
    reason: str
    observations: int

    def document(self) -> dict[str, Any]:
        """The fit as plain values, for JSON."""
        return {
            "params": msgspec.to_builtins(self.params),
            "standard_errors": {
                name: None if error is None else float(error)
                for name, error in self.standard_errors.items()
            },
            "log_likelihood": float(self.log_likelihood),
            "converged": self.converged,
            "reason": self.reason,
            "observations": self.observations,
        }


def require(holds: bool, rule: str, value: object) -> None:
    """Raise FitRefused with `rule` and `value` unless it holds."""
    if not holds:
        raise FitRefused(rule, value)
