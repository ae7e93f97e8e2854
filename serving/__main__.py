"""`python -m serving NAME`: one of the six services, or `all` of them, until it is told to stop."""

import os
import signal
import sys
import threading
from enum import Enum
from pathlib import Path
from typing import Annotated

import structlog
import typer

from hft_lib.parameters import read_parameter_file
from serving.adapters.kafka_topics import TopicsError
from serving.process import Process, Start
from serving.runtime.chain import Superseded
from serving.runtime.chained import BusError
from serving.runtime.lease import Held
from serving.runtime.opening import NotThisLine
from serving.runtime.pages import Pages
from serving.runtime.settings import load_settings
from serving.services import SERVICES

REFUSED, BAD_USAGE, FAILED = 3, 2, 1
Name = Enum("Name", {service.name: service.name for service in SERVICES})  # type: ignore[misc]


def serve(
    name: Annotated[Name, typer.Argument(help="The service.")],
    port: Annotated[int | None, typer.Option(help="In place of the service's own.")] = None,
    tape: Annotated[Path | None, typer.Option(help="What ingestion feeds.")] = None,
    speed: Annotated[float | None, typer.Option(help="Times the tape's pace; unset: max.")] = None,
    params: Annotated[Path | None, typer.Option(help="What the orchestrator opens with.")] = None,
    borrow: Annotated[float | None, typer.Option("--assume-borrow")] = None,
) -> None:
    """Run one service on Kafka until SIGTERM."""
    settings = load_settings()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    log = structlog.get_logger(__name__)
    log.info("starting", service=name.value, **{k: v for k, v in settings.printable().items() if v})
    service = next(item for item in SERVICES if item.name == name.value)
    file = read_parameter_file(params.read_bytes()) if params is not None else None
    start = Start(tape=tape, speed=speed, params=file, borrow_rate_annual=borrow)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    pages = Pages(service.name, port or service.port)
    pages.open()
    try:
        Process(settings, service, start, pages).run(stop)
    finally:
        pages.close()
    log.info("stopped", service=service.name)
    # Everything is written and closed: what the interpreter and the clients' threads would still
    # take, seconds on a busy machine, is part of the time in which a service must have stopped.
    sys.stderr.flush()
    os._exit(0)


def main() -> None:
    """Leave with 2 where the settings or the usage are wrong, 3 where a rule refuses the start, 1
    where the broker refused what was sent.
    """
    try:
        typer.run(serve)
    except ValueError as error:
        sys.exit(_say(str(error), BAD_USAGE))
    except (NotThisLine, Held, Superseded, TopicsError) as error:
        sys.exit(_say(str(error), REFUSED))
    except BusError as error:
        sys.exit(_say(f"{error}; the next start goes on from the snapshot", FAILED))


def _say(sentence: str, code: int) -> int:
    sys.stderr.write(f"serving: {sentence}\n")
    return code


if __name__ == "__main__":
    main()
