"""`python -m serving NAME`: one of the six services, or `all` of them, until it is told to stop."""

import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":
    # From the first moment on: a container's first process does not hear what it has no handler
    # for, and the imports below take a second and more on a busy machine.
    for _number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(_number, lambda *_: os._exit(0))

import structlog
import typer

from hft_lib.parameters import read_parameter_file
from serving.runtime import logs
from serving.runtime.access import access_of
from serving.runtime.chain import Superseded
from serving.runtime.chained import BusError
from serving.runtime.disk import Disk
from serving.runtime.journal import JournalError
from serving.runtime.lease import Held
from serving.runtime.opening import NotThisLine, RunError
from serving.runtime.pages import Pages, PortTaken
from serving.runtime.settings import Settings, SettingsError, load_settings
from serving.services import SERVICES, Service
from serving.start import Start

REFUSED, BAD_USAGE, FAILED = 3, 2, 1
# Where HFT_HOME cannot be: a setting is wrong.
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
ALL = "all"
Name = Enum(  # type: ignore[misc]
    "Name", {name: name for name in (*(service.name for service in SERVICES), ALL)}
)


class Bus(Enum):
    """What carries the facts."""

    MEMORY = "memory"
    KAFKA = "kafka"


def serve(
    name: Annotated[Name, typer.Argument(help="The service, or all.")],
    bus: Annotated[
        Bus | None, typer.Option(help="Unset: kafka where KAFKA_BOOTSTRAP_SERVERS is set.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="In place of the service's own; of all: the first of six.")
    ] = None,
    tape: Annotated[Path | None, typer.Option(help="What ingestion feeds.")] = None,
    speed: Annotated[float | None, typer.Option(help="Times the tape's pace; unset: max.")] = None,
    params: Annotated[
        list[Path] | None, typer.Option(help="What the line opens with, one a pair.")
    ] = None,
    borrow: Annotated[float | None, typer.Option("--assume-borrow")] = None,
) -> None:
    """Run one service, or all six, until SIGTERM.

    On memory they are one process over a tape, or the synthetic market; on Kafka one process each.
    """
    settings = load_settings()
    _log_to_stderr(settings)
    chosen = bus or (Bus.KAFKA if settings.kafka_bootstrap_servers else Bus.MEMORY)
    if chosen is Bus.KAFKA and settings.kafka_bootstrap_servers is None:
        raise SettingsError("--bus kafka needs KAFKA_BOOTSTRAP_SERVERS, it was unset")
    if settings.exchange == "binance":
        raise SettingsError("EXCHANGE must be simulated or paper in this release, was binance")
    access_of(settings)  # before anything starts: a missing token is a setting that is wrong
    log = structlog.get_logger(__name__)
    known = {key: value for key, value in settings.printable().items() if value}
    log.info("starting", service=name.value, bus=chosen.value, **known)
    begin = _all_on_kafka if (name.value, chosen) == (ALL, Bus.KAFKA) else _here
    code = begin(settings, name.value, chosen, port, (tape, speed, tuple(params or ()), borrow))
    log.info("stopped", service=name.value)
    # Everything is written and closed: what the interpreter and the clients' threads would still
    # take, seconds on a busy machine, is part of the time in which a service must have stopped.
    sys.stderr.flush()
    os._exit(code)


_Given = tuple[Path | None, float | None, tuple[Path, ...], float | None]


def _all_on_kafka(settings: Settings, name: str, bus: Bus, port: int | None, given: _Given) -> int:
    from serving.six import Six, words_of

    return Six(words_of(port, *given)).run(on_signals)


def _here(settings: Settings, name: str, bus: Bus, port: int | None, given: _Given) -> int:
    """Serve in this process."""
    start = _start(*given)
    services = [service for service in SERVICES if name in (service.name, ALL)]
    stop = threading.Event()
    ending = Ending(stop)
    on_signals(ending.ask)
    with ExitStack() as world:
        pages = {}
        for place, service in enumerate(services):
            number = service.port if port is None else port + place
            page = Pages(service.name, number, access=access_of(settings))
            page.add(Disk(settings.hft_home))
            page.open()
            world.callback(page.close)
            pages[service.name] = page
        world.callback(_end_pages, pages.values())
        _serve(settings, bus, services, start, pages, stop, ending)
    return 0


def _serve(
    settings: Settings,
    bus: Bus,
    services: list[Service],
    start: Start,
    pages: dict[str, Pages],
    stop: threading.Event,
    ending: "Ending",
) -> None:
    """Here are the imports, because each way has layers that are memory that no other needs."""
    service, page = services[0], pages[services[0].name]
    if bus is Bus.KAFKA:
        from serving.process import Process
        from serving.slim import give_back, leave_out

        ending.begun()
        # No event waits for the orchestrator; MLflow's client, which may need what is left out,
        # leaves it little room.
        if service.name != "orchestrator":
            leave_out()
            service.load()
        process = Process(settings, service, start, page)
        give_back()
        process.run(stop)
    elif len(services) == 1:
        from serving.memory import serve_alone

        ending.begun()
        service.load()
        serve_alone(settings, service, start, page, stop)
    else:
        from serving.memory import MemoryLine

        for each in services:
            each.load()
        MemoryLine(settings, start, pages).run(stop, ending.begun)


class Ending:
    """An end that is asked for: in order once something has begun, at once before that."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._has_begun = False

    def begun(self) -> None:
        """From now on an end is in order."""
        self._has_begun = True

    def ask(self) -> None:
        """End."""
        self._stop.set()
        if not self._has_begun:  # a market is made or fitted, a journal read: nothing is half-done
            os._exit(0)


def on_signals(ask: Callable[[], None]) -> None:
    """Let SIGTERM and SIGINT call `ask`."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ask())


def _end_pages(pages: object) -> None:
    for page in pages:  # type: ignore[attr-defined]
        page.end()


def _start(
    tape: Path | None, speed: float | None, params: tuple[Path, ...], borrow: float | None
) -> Start:
    if speed is not None and not 0.0 < speed < 1e12:
        raise ValueError(f"--speed must be positive, was {speed}")
    files = tuple(read_parameter_file(path.read_bytes()) for path in params)
    return Start(tape=tape, speed=speed, params=files, borrow_rate_annual=borrow)


def _log_to_stderr(settings: Settings) -> None:
    """One line an event: for a person's eye in development, JSON where a collector reads it."""
    structlog.configure(
        processors=logs.processors(settings, settings.environment != "development"),
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelName(settings.log_level)
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main() -> None:
    """Leave with 2 where the settings, the usage or a file are wrong, 3 where a rule refuses, 1
    where the broker refused what was sent or the system what was to be written.
    """
    try:
        typer.run(serve)
    except (ValueError, JournalError, FileNotFoundError) as error:
        sys.exit(_say(str(error), BAD_USAGE))
    except (NotThisLine, Held, Superseded, PortTaken, RunError) as error:
        sys.exit(_say(str(error), REFUSED))
    except BusError as error:
        sys.exit(_say(f"{error}; the next start goes on from the snapshot", FAILED))
    except OSError as error:
        where = f" at {error.filename}" if error.filename else ""
        said = "the disk of HFT_HOME is full" if error.errno == errno.ENOSPC else error.strerror
        code = BAD_USAGE if error.errno in DENIED else FAILED
        sys.exit(_say(f"{said or error}{where}", code))


def _say(sentence: str, code: int) -> int:
    sys.stderr.write(f"serving: {sentence}\n")
    return code


if __name__ == "__main__":
    main()
