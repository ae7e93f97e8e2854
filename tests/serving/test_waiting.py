"""What a start waits for is on its pages while it lasts, and in its log once."""

import threading
from typing import Any

import structlog

from serving.waiting import Waiting


class Page:
    """Stands for a service's pages: what they were told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def wait_for(self, what: str) -> None:
        self.told.append(what)


def waited(answers: list[str | None]) -> tuple[str | None, list[str], list[str]]:
    """What was found, what the page was told, what was logged."""
    page: Any = Page()
    waiting = Waiting((page,), threading.Event())
    with structlog.testing.capture_logs() as logged:
        found = waiting.until("the feed is opened", lambda: answers.pop(0), poll_s=0.001)
    return found, page.told, [line["until"] for line in logged]


def test_what_is_there_at_once_is_not_logged() -> None:
    assert waited(["feed"]) == ("feed", ["the feed is opened", ""], [])


def test_what_is_waited_for_is_logged_once() -> None:
    found, told, logged = waited([None, None, None, "feed"])
    assert (found, told) == ("feed", ["the feed is opened", ""])
    assert logged == ["the feed is opened"]
