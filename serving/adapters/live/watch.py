"""How long a connection, or one stream of it, may be silent before it is given up."""

from collections import deque
from collections.abc import Hashable

SILENCE_S = 10.0  # of a connection, before its cadence is known
SILENCE_S_MIN, SILENCE_S_MAX = 5.0, 60.0  # the most is for markets that have nothing to say
SILENCE_CADENCES = 20.0
GAPS_MAX = 100  # the last times between messages, whose mean is the cadence
# Of one stream while others come: a thin market trades once in minutes.
STREAM_SILENCE_S, STREAM_SILENCE_S_MAX = 60.0, 3_600.0
STREAM_CADENCES = 50.0


class Watch:
    """How long a connection may be silent, by how often it brought something."""

    def __init__(self) -> None:
        self._gaps_s: deque[float] = deque(maxlen=GAPS_MAX)
        self._last_s: float | None = None
        self._silences = 0

    def heard(self, now_s: float) -> None:
        """Something of use came."""
        if self._last_s is not None:
            self._gaps_s.append(now_s - self._last_s)
        self._last_s = now_s

    def begun(self, now_s: float) -> None:
        """A connection is open: silence counts from here."""
        self._last_s = now_s

    def was_silent(self) -> None:
        """The connection was given up for its silence: the next one has twice as long."""
        self._silences += 1

    def left_s(self, now_s: float) -> float:
        """How long the silence may last yet."""
        assert self._last_s is not None, "a connection has begun"
        return self._last_s + self.limit_s - now_s

    @property
    def limit_s(self) -> float:
        """The silence that ends a connection."""
        if len(self._gaps_s) == GAPS_MAX:
            cadences_s = SILENCE_CADENCES * sum(self._gaps_s) / GAPS_MAX
            return min(max(cadences_s, SILENCE_S_MIN), SILENCE_S_MAX)
        return min(SILENCE_S * 2.0 ** min(self._silences, 8), SILENCE_S_MAX)


class _Stream:
    """When one stream last brought something, and how often it does."""

    __slots__ = ("last_s", "cadence_s", "silences")

    def __init__(self, now_s: float) -> None:
        self.last_s = now_s
        self.cadence_s = 0.0
        self.silences = 0

    def heard(self, now_s: float) -> None:
        self.cadence_s += ((now_s - self.last_s) - self.cadence_s) / GAPS_MAX
        self.last_s = now_s

    @property
    def limit_s(self) -> float:
        least_s = max(STREAM_SILENCE_S, STREAM_CADENCES * self.cadence_s)
        return min(least_s * 2.0 ** min(self.silences, 20), STREAM_SILENCE_S_MAX)


class StreamWatch:
    """The streams of one connection that have ever brought something."""

    def __init__(self) -> None:
        self._streams: dict[Hashable, _Stream] = {}
        self._look_s = 0.0

    def begun(self, now_s: float) -> None:
        """A connection is open: silence counts from here."""
        for stream in self._streams.values():
            stream.last_s = now_s

    def heard(self, name: Hashable, now_s: float) -> None:
        """Something of use came of the stream `name`."""
        stream = self._streams.get(name)
        if stream is None:
            self._streams[name] = _Stream(now_s)
        else:
            stream.heard(now_s)

    def silent(self, now_s: float) -> str:
        """A stream that is silent for too long, empty where none is; next time it has longer."""
        if now_s - self._look_s < STREAM_SILENCE_S / 60.0:
            return ""  # a look at each message would cost more than the message
        self._look_s = now_s
        for name, stream in self._streams.items():
            if now_s - stream.last_s > stream.limit_s:
                stream.silences += 1
                return f"{name}"
        return ""
