"""The operator's page put together for the orchestrator's process."""

import os
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from serving.adapters.redis_directory import Entry
from serving.orchestrator.decisions import Latest, Older, Unknown
from serving.orchestrator.figures import EvopFigures
from serving.orchestrator.gathering import Gatherer, Services, Words
from serving.orchestrator.operator_page import OperatorPage
from serving.runtime.pages import Measured, Mounted


class Told(Protocol):
    """What a service's pages tell of it (`runtime.pages.Pages`)."""

    port: int

    @property
    def epoch(self) -> int:
        """The epoch that it runs under."""

    def why_not_ready(self) -> str:
        """What it is missing; empty where nothing is."""

    def document(self) -> dict[str, Any]:
        """What `/state` shows."""


class InOneProcess:
    """The services of one process, which tell of themselves without Redis."""

    def __init__(self, pages: Mapping[str, Told]) -> None:
        self._pages = pages
        self._since_ns = time.time_ns()

    def entries(self) -> dict[str, Entry]:
        """Who is there, by name: all, as they are now."""
        return {
            name: Entry(
                service=name,
                host=socket.gethostname(),
                pid=os.getpid(),
                port=page.port,
                epoch=page.epoch,
                since_ns=self._since_ns,
                beat_ns=time.time_ns(),
                why_not_ready=page.why_not_ready(),
            )
            for name, page in self._pages.items()
        }

    def documents(self) -> dict[str, dict[str, Any]]:
        """What each says of itself."""
        return {name: page.document() for name, page in self._pages.items()}


class Where(Protocol):
    """The pages that it becomes a part of (`runtime.pages.Pages`)."""

    def mount(self, page: Mounted) -> None:
        """Answer what `page` answers too."""

    def measure(self, source: Measured) -> None:
        """Show the labelled figures of `source` too."""

    def why_not_ready(self) -> str:
        """What the service is missing; empty where nothing is."""


def open_page(pages: Where, services: Services, words: Words, database_url: str | None) -> Gatherer:
    """Serve the page on `pages`; what it gathers from, whom the stepping thread is to call.

    `database_url` names the ledger of a line on Kafka.
    """
    latest = Latest(_ledger(database_url) if database_url is not None else None)
    gatherer = Gatherer(services, words, latest, pages.why_not_ready)
    pages.mount(OperatorPage(gatherer.gathered))
    pages.measure(EvopFigures(gatherer))
    return gatherer


def _ledger(url: str) -> Older:
    """The last decisions of the one line on Kafka that a ledger holds."""

    def older(last: int) -> Iterable[str]:
        # Here, because a database's layer is memory that nobody else needs.
        from sqlalchemy.exc import SQLAlchemyError

        from serving.ledger import books, database
        from serving.ledger.kafka_source import SOURCE, Following

        try:
            if not database.is_there(url):
                raise Unknown("there is no ledger yet")
            engine = database.open_database(url)
            try:
                with engine.connect() as connection:
                    database.check_version(connection)
                    return books.decisions(connection, books.line_in(connection, SOURCE), last)
            finally:
                engine.dispose()
        except (SQLAlchemyError, database.LedgerError) as error:
            raise Unknown(f"the ledger cannot be read: {Following.sentence_of(error)}") from error

    return older
