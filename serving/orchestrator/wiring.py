"""The operator's page put together for the orchestrator's process."""

from collections.abc import Iterable
from typing import Protocol

from serving.orchestrator.decisions import Latest, Older, Unknown
from serving.orchestrator.gathering import Gatherer, Services, Words
from serving.orchestrator.operator_page import OperatorPage
from serving.runtime.pages import Mounted


class Where(Protocol):
    """The pages that it becomes a part of (`runtime.pages.Pages`)."""

    def mount(self, page: Mounted) -> None:
        """Answer what `page` answers too."""

    def why_not_ready(self) -> str:
        """What the service is missing; empty where nothing is."""


def open_page(pages: Where, services: Services, words: Words, database_url: str | None) -> Gatherer:
    """Serve the page on `pages`; what it gathers from, which the stepping thread is to tell."""
    latest = Latest(_ledger(database_url) if database_url is not None else None)
    gatherer = Gatherer(services, words, latest, pages.why_not_ready)
    pages.mount(OperatorPage(gatherer.gathered))
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
