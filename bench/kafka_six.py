"""Six processes, a broker and Redis over a tape: pace, memory, starts, how soon a kill is heard.

The line is through when every service has read all that its inbox holds; what was sustained is the
tape's events over that time, so a lag that grew would be in it. The soak is the same over a million
events, looked at every second: what a service holds in its second fifth and in its last. A kill is
timed while ticks come at a steady pace, by a reader of execution's inbox and of the records.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
import redis
from confluent_kafka import Consumer, TopicPartition

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.kafka_hops import broker  # noqa: E402
from bench.replay import CHALLENGERS, PAIR, parameters  # noqa: E402
from hft_lib.events import Event, Halted, Resumed  # noqa: E402
from hft_lib.market import synthetic  # noqa: E402
from hft_lib.market.tape import Tape  # noqa: E402
from hft_lib.parameters import Challenger, Evop, ParameterFile, Provenance  # noqa: E402
from serving.adapters.kafka_topics import RECORDS, topic_of  # noqa: E402
from serving.adapters.redis_client import connect  # noqa: E402
from serving.adapters.redis_latch import RedisLatch  # noqa: E402
from serving.runtime import latch as latches  # noqa: E402
from serving.services import SERVICES  # noqa: E402

TICKS, SOAK_TICKS = 300_000, 1_000_000
KILLS, KILL_TICKS_A_SECOND, KILL_MS_MAX = 40, 200, 1000
LOOK_S = 1.0
REDIS_PORT, PORT = 9796, 9800
WAIT_S_MAX = 900.0  # the soak, on a busy machine
TICKS_A_SECOND, RESIDENT_MIB_MAX, READY_S_MAX = 5_000, 256, 5.0  # what is aimed at


Running = dict[str, "subprocess.Popen[bytes]"]


class Look(msgspec.Struct):
    """The services at one moment: resident MiB and open handles of each, and the line's lag."""

    resident_mib: dict[str, float]
    handles: dict[str, int]
    lag: int


def rows(folder: Path) -> list[dict[str, Any]]:
    """A row for the line, and a row for each service, which is then restarted by itself."""
    return _play(folder, TICKS)[0]


def soak(folder: Path) -> list[dict[str, Any]]:
    """A row for each service: what it held early and late in a million events."""
    line, looks = _play(folder, SOAK_TICKS)
    fifth = max(1, len(looks) // 5)
    early, late = looks[fifth : 2 * fifth], looks[-fifth:]
    lags = {"lag_max_early": max(x.lag for x in early), "lag_max_late": max(x.lag for x in late)}
    return [
        {**line[0], "name": "soak of six processes", "looks": len(looks), **lags},
        *(
            {
                "name": f"{service.name} in the soak",
                "resident_mib_early": round(max(x.resident_mib[service.name] for x in early)),
                "resident_mib_late": round(max(x.resident_mib[service.name] for x in late)),
                "handles_early": max(x.handles[service.name] for x in early),
                "handles_late": max(x.handles[service.name] for x in late),
            }
            for service in SERVICES
        ),
    ]


def _play(folder: Path, ticks: int) -> tuple[list[dict[str, Any]], list[Look]]:
    looks: list[Look] = []
    with _line(folder, ticks) as six:
        running, ready_s = six.running, six.ready_s
        began = time.monotonic()
        _wait("through", lambda: _is_through(running, ticks, looks))
        seconds = time.monotonic() - began
        services = [
            {
                "name": f"{name} over Kafka",
                "resident_peak_mib": round(_status_mib(process.pid, "VmHWM")),
                "target_mib": RESIDENT_MIB_MAX,
                "ready_again_s": round(six.restart(name), 1),
                "target_ready_s": READY_S_MAX,
            }
            for name, process in list(running.items())
        ]
    line = {
        "name": "six processes and the broker",
        "ticks": ticks,
        "ticks_per_s": round(ticks / seconds),
        "target_ticks_per_s": TICKS_A_SECOND,
        "all_six_at_once_ready_s": round(ready_s, 1),
    }
    return [line, *services], looks


def kills(folder: Path) -> list[dict[str, Any]]:
    """One row: milliseconds from an operator's kill until it is in execution's inbox, and until
    execution has stepped on it and said so.
    """
    with _line(folder, TICKS, KILL_TICKS_A_SECOND) as six:
        latch = RedisLatch(connect(six.url), six.url)
        ears = [_Ear(six.servers, log) for log in ("execution", RECORDS)]
        took: list[tuple[float, float]] = []
        for number in range(KILLS):
            time.sleep(0.3 + 0.01 * number)  # not in step with the looks at the latch
            began = time.monotonic()
            latches.kill(latch, False, "bench", f"kill {number}", time.time_ns())
            took.append((ears[0].hear(Halted) - began, ears[1].hear(Halted) - began))
            latches.reset(latch, "bench", "over", time.time_ns())
            ears[1].hear(Resumed)
        for ear in ears:
            ear.close()
    row: dict[str, Any] = {"name": f"a kill at {KILL_TICKS_A_SECOND} ticks/s", "kills": KILLS}
    for place, what in enumerate(("in_the_inbox", "stepped_on")):
        ms = sorted(1e3 * one[place] for one in took)
        row |= {f"{what}_p50_ms": round(ms[KILLS // 2]), f"{what}_max_ms": round(ms[-1])}
    return [row | {"target_max_ms": KILL_MS_MAX}]


class _Ear:
    """A reader of a log, from its end on."""

    def __init__(self, servers: str, log: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench"})
        place = TopicPartition(topic_of(log), 0)
        _, place.offset = self._consumer.get_watermark_offsets(place, timeout=10.0)
        self._consumer.assign([place])

    def hear(self, kind: type) -> float:
        """When the next fact of a kind came."""
        until = time.monotonic() + WAIT_S_MAX
        while time.monotonic() < until:
            message = self._consumer.poll(1.0)
            if message is None or message.error() is not None:
                continue
            if isinstance(msgspec.msgpack.decode(message.value() or b"", type=Event), kind):
                return time.monotonic()
        raise TimeoutError(f"no {kind.__name__} in {WAIT_S_MAX} s")

    def close(self) -> None:
        """Hear nothing more."""
        self._consumer.close()


@contextmanager
def _line(folder: Path, ticks: int, ticks_a_second: int | None = None) -> Iterator["_Six"]:
    """Six processes, ready, fed a tape of `ticks`; as fast as they go, or at a pace."""
    tape = folder / f"tape-{ticks}"
    if not tape.exists():
        synthetic.write(7, tape, synthetic.ticks(ticks, spread_half_life_s=10.0))
    params = folder / "parameters.json"
    params.write_bytes(msgspec.json.encode(_file()))
    speed = None
    if ticks_a_second is not None:
        known = Tape.open(tape)
        speed = ticks_a_second * (known.end_ns - known.start_ns) / 1e9 / ticks
    with (
        broker(folder / f"kafka-{ticks}-{ticks_a_second}") as servers,
        _redis(folder) as url,
        _Six(folder, servers, url, tape, params, speed) as six,
    ):
        six.ready_s = _wait("ready", lambda: all(_page(name, "/readyz") for name in six.running))
        yield six


def _file() -> ParameterFile:
    challengers = tuple(
        Challenger(str(number), parameters(1.5 + 0.1 * number))
        for number in range(1, CHALLENGERS + 1)
    )
    return ParameterFile(
        pair=PAIR,
        params=parameters(1.5),
        evop=Evop(),
        provenance=Provenance(tape_sha256="", start="", end="", trials=1),
        challengers=challengers,
    )


def _is_through(running: Running, ticks: int, looks: list[Look]) -> bool:
    """Whether nothing is left to read; keeps a look at the services, and waits before the next."""
    states = [json.loads(_page(name, "/state") or "{}") for name in running]
    lags = [sum((state.get("lag") or {"": 1}).values()) for state in states]
    resident = {name: _status_mib(process.pid, "VmRSS") for name, process in running.items()}
    handles = {
        name: len(os.listdir(f"/proc/{process.pid}/fd")) for name, process in running.items()
    }
    looks.append(Look(resident, handles, sum(lags)))
    through = states[0].get("read", 0) >= ticks and not any(lags)
    if not through:
        time.sleep(LOOK_S)
    return through


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    words = ["redis-server", "--port", str(REDIS_PORT), "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen([*words, "--dir", str(folder)], stdout=subprocess.DEVNULL) as process:
        url = f"redis://127.0.0.1:{REDIS_PORT}/0"
        client = redis.Redis.from_url(url)
        _wait("Redis", lambda: _answers(client))
        yield url
        process.terminate()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.RedisError:
        return False


class _Six:
    """The six processes; `running` has those that were started, by name."""

    def __init__(
        self,
        folder: Path,
        servers: str,
        url: str,
        tape: Path,
        params: Path,
        speed: float | None,
    ) -> None:
        self.running: Running = {}
        self.servers, self.url = servers, url
        self.ready_s = 0.0  # all of them at once
        self._folder = folder
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "REDIS_URL": url,
            "HFT_HOME": str(folder / "home"),
        }
        # As in an image, nothing that is imported is compiled again at each start.
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._options = {
            "ingestion": (
                "--tape",
                str(tape),
                *(() if speed is None else ("--speed", repr(speed))),
            ),
            "orchestrator": ("--params", str(params)),
        }

    def __enter__(self) -> Self:
        for service in SERVICES:
            self.start(service.name)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(30)

    def start(self, name: str) -> None:
        """Start one."""
        words = [sys.executable, "-m", "serving", name, "--port", str(_port(name))]
        with (self._folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*words, *self._options.get(name, ())],
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def restart(self, name: str) -> float:
        """Stop one and start it again; the seconds from its start until it is ready."""
        self.running[name].terminate()
        self.running[name].wait(30)
        began = time.monotonic()
        self.start(name)
        _wait("ready again", lambda: bool(_page(name, "/readyz")))
        return time.monotonic() - began


def _port(name: str) -> int:
    return PORT + [service.name for service in SERVICES].index(name)


def _page(name: str, path: str) -> str:
    """A page's text; empty where it does not answer, or says that it is not ready."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        if probe.connect_ex(("127.0.0.1", _port(name))):
            return ""
    try:
        url = f"http://127.0.0.1:{_port(name)}{path}"
        with urllib.request.urlopen(url, timeout=5.0) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def _wait(what: str, holds: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > WAIT_S_MAX:
            raise TimeoutError(f"not {what} in {WAIT_S_MAX} s")
        time.sleep(0.1)
    return time.monotonic() - began


def _status_mib(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.split(f"{name}:")[1].split()[0]) / 1024
