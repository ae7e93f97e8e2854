"""A stage is a value: its inbox, where it writes, how it starts, and one pure step. This is the
whole framework.

    step(state, event) -> facts

No clock, network, randomness or environment inside `step`; time is in the events. The host owns the
state: a struct of a few arrays and numbers, which `step` may update in place and `snapshot` copies.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import numpy as np

from hft_lib.events import Event

State = TypeVar("State")
Config = TypeVar("Config")


class Stage(msgspec.Struct, Generic[State, Config], frozen=True):
    """`routes` names, for each type of fact the stage makes, the inboxes that it is written to."""

    name: str
    state_type: type[State]
    start: Callable[[Config], State]
    step: Callable[[State, Any], tuple[Event, ...]]
    routes: Mapping[type, tuple[str, ...]]


def replay(stage: Stage[State, Config], config: Config, inbox: Iterable[Event]) -> Iterator[Event]:
    """Yield the facts that `stage`, started from `config`, makes of its `inbox`."""
    state = stage.start(config)
    for event in inbox:
        yield from stage.step(state, event)


def kinds(stage: Stage[Any, Any]) -> frozenset[type]:
    """The kinds of fact that `stage` takes, as its step is annotated."""
    taken = get_type_hints(stage.step)["event"]
    return frozenset(get_args(taken) or (taken,))


class Line:
    """Stages joined in one process: each fact of an edge runs to quiescence before the next is
    taken.
    """

    def __init__(self, stages: Iterable[Stage[Any, Any]], config: Any) -> None:
        self.stages = {stage.name: stage for stage in stages}
        self.states = {name: stage.start(config) for name, stage in self.stages.items()}
        self._runs = {
            name: (stage.step, self.states[name], stage.routes)
            for name, stage in self.stages.items()
        }

    def post(self, inbox: str, event: Event) -> list[tuple[str, Event]]:
        """Run one fact to quiescence; returns what leaves the line, each with its log."""
        return self._quiesce([(inbox, event)])

    def send_on(self, stage: str, facts: Iterable[Event]) -> list[tuple[str, Event]]:
        """Run to quiescence what `stage` made outside the line; returns what leaves the line."""
        routes = self.stages[stage].routes
        return self._quiesce([(target, fact) for fact in facts for target in routes[type(fact)]])

    def _quiesce(self, pending: list[tuple[str, Event]]) -> list[tuple[str, Event]]:
        leaving, runs = [], self._runs
        for name, fact in pending:  # grows as it is read: first in, first out
            if name not in runs:
                leaving.append((name, fact))
                continue
            step, state, routes = runs[name]
            for made in step(state, fact):
                for target in routes[type(made)]:
                    pending.append((target, made))
        return leaving


# --- snapshots ---


def snapshot(state: Any) -> bytes:
    """Copy a state into bytes; equal states give equal bytes."""
    return _encoder.encode(state)


def restore(stage: Stage[State, Any], content: bytes) -> State:
    """The state that `snapshot` copied; raises msgspec.DecodeError for bytes that are not one."""
    return msgspec.msgpack.decode(content, type=stage.state_type, dec_hook=_decode_array)


def _encode_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        described = value.dtype.descr if value.dtype.names else value.dtype.str
        return (described, value.shape, value.tobytes())
    raise TypeError(
        f"a state holds numbers, strings, structs and arrays, not {type(value).__name__}"
    )


def _decode_array(kind: type, value: Any) -> Any:
    if (get_origin(kind) or kind) is not np.ndarray:
        raise TypeError(f"a snapshot cannot hold {kind.__name__}")
    described, shape, content = value
    return np.frombuffer(content, _dtype(_frozen(described))).reshape(shape).copy()


def _frozen(described: Any) -> Any:
    return tuple(map(_frozen, described)) if isinstance(described, list) else described


@lru_cache
def _dtype(described: Any) -> Any:
    """One object for all arrays of a layout: to compare two field by field costs microseconds."""
    if isinstance(described, str):
        return np.dtype(described)
    return np.dtype([(name, _dtype(kind), *shape) for name, kind, *shape in described])


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_array, order="deterministic")
