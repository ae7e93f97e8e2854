"""The figures that every service shows, asked over HTTP."""

import socket
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hft_lib.events import SCHEMA_VERSION
from serving.adapters.memory_bus import MemoryBus
from serving.runtime.chain import LOGIC_VERSION
from serving.runtime.host import serve
from serving.runtime.metered import Hosted
from serving.runtime.pages import BROKER_ANSWERS, Pages
from serving.services import INBOXES, stages
from tests.builders import story_config


class Served:
    """One service's pages, and what watches it."""

    def __init__(self) -> None:
        with socket.socket() as tried:
            tried.bind(("127.0.0.1", 0))
            port = tried.getsockname()[1]
        self.now_s = 100.0
        self.pages = Pages("kalman_filter", port, lambda: self.now_s)
        stage = next(stage for stage in stages() if stage.name == self.pages.name)
        bus = MemoryBus(INBOXES, lambda log, fact: None)
        self.hosted = Hosted(self.pages.name, serve(stage, story_config(), bus))
        # Its thread begins to listen in its own time: the first question is asked again.
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=10)
        )

    def figures(self) -> dict[str, float]:
        """The figures that have no label."""
        text = self.client.get("/metrics").raise_for_status().text
        families = text_string_to_metric_families(text)
        found = [sample for family in families for sample in family.samples]
        return {sample.name: sample.value for sample in found if not sample.labels}


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    made.pages.open()
    yield made
    made.client.close()
    made.pages.close()


def test_a_service_that_starts_says_what_it_is_and_that_it_is_not_ready(served: Served):
    figures = served.figures()
    assert figures["hft_ready"] == 0.0 and "hft_diverged" not in figures
    assert figures["process_resident_memory_bytes"] > 1e6
    assert figures["process_start_time_seconds"] > 1.6e9
    text = served.client.get("/metrics").text
    assert f'hft_build_info{{logic="{LOGIC_VERSION}",schema="{SCHEMA_VERSION}"}} 1.0' in text


def test_a_diverged_log_and_a_broker_that_is_away_are_figures(served: Served):
    served.pages.watch(served.hosted)
    served.hosted.ready = True
    figures = served.figures()
    names = "hft_ready", "hft_diverged", "hft_broker_away", "hft_grid_seconds"
    assert [figures[name] for name in names] == [1.0, 0.0, 0.0, story_config().grid_ms / 1e3]
    served.hosted.away = "no answer"
    assert [served.figures()[name] for name in names[:3]] == [0.0, 0.0, 1.0]
    served.hosted.away, served.hosted.diverged = "", "a number is missing"
    assert [served.figures()[name] for name in names[:3]] == [0.0, 1.0, 0.0]


def test_a_start_that_waits_for_the_broker_says_so_in_its_figures(served: Served):
    asked = []
    for waits in ("", f"{BROKER_ANSWERS} (it did not)", "the line is opened"):
        served.pages.wait_for(waits)
        asked.append(served.figures()["hft_broker_away"])
    assert asked == [0.0, 1.0, 0.0]


def test_the_start_takes_until_the_service_is_ready_first_and_no_longer(served: Served):
    served.now_s += 7.0
    assert served.figures()["hft_startup_seconds"] == 7.0
    served.pages.watch(served.hosted)
    served.now_s += 2.0
    served.hosted.ready = True
    assert served.figures()["hft_startup_seconds"] == 9.0
    served.now_s += 50.0
    served.hosted.ready = False
    figures = served.figures()
    assert (figures["hft_startup_seconds"], figures["hft_ready"]) == (9.0, 0.0)
