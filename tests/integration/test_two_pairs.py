"""A line of two pairs, on memory and on Kafka: both trade as in a replay."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hft_lib.parameters import read_parameter_file
from serving.runtime.journal import read_header, read_records
from tests.integration.conftest import Outside
from tests.integration.memory_line import Serving
from tests.integration.six import NAMES, SixProcesses, facts
from tests.integration.two_pairs import PAIRS, TwoPairs, hash_by_pair

REST_S = 2.5  # longer than a service's look at how far behind it is


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, outside_of: Any) -> TwoPairs:
    folder = tmp_path_factory.mktemp("two")
    return TwoPairs(folder, outside_of(folder))


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    made = Serving(tmp_path)
    yield made
    made.kill()


def test_on_memory_both_trade_as_in_a_replay(serving: Serving, two: TwoPairs) -> None:
    pairs = ",".join(PAIRS)
    serving.start("all", "--tape", two.tape, *two.words(1, 0), PAIRS=pairs)
    serving.await_ready()
    serving.wait_for("through", lambda: "the tape is through" in serving.log)
    assert serving.stop()[0] == 0
    journal = serving.home / "line" / "journal"
    assert tuple(item.pair for item in read_header(journal).config.pairs) == PAIRS
    assert hash_by_pair(read_records(journal)) == two.replayed
    serving.start("all", "--tape", two.tape, *two.words(0, 1), PAIRS=pairs)
    serving.await_ready()
    assert serving.stop()[0] == 0


def test_the_verbs_take_a_parameter_file_a_pair(
    two: TwoPairs, outside: Outside, tmp_path: Path
) -> None:
    files = two.words(1, 0)
    replayed = outside("replay", "--tape", two.tape, *two.words(0, 1), "--json")
    assert replayed.code == 0, replayed.err
    ran = outside("run", "--tape", two.tape, *two.words(0, 1), "--out", "ran", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["pair"] == replayed.json["pair"] == ",".join(PAIRS)
    assert ran.json["orders_sha256"] == replayed.json["orders_sha256"]
    assert hash_by_pair(read_records(Path(ran.json["journal"]))) == two.replayed
    words = ("--tape", two.tape, "--verify", ran.json["journal"], "--json")
    assert outside("replay", *files, *words).json["verified"], "in whatever order"
    one = outside("replay", *two.words(0), *words)
    assert one.code == 2 and "parameters.json and" in one.sentence
    assert outside("replay", *files, "--pair", PAIRS[0], "--tape", two.tape).code == 2


@pytest.mark.slow
def test_on_kafka_both_trade_as_in_a_replay(six: SixProcesses, two: TwoPairs) -> None:
    six.options = {
        "ingestion": ("--tape", two.tape),
        "orchestrator": tuple(two.words(1, 0)),
    }
    six.environment = {"PAIRS": ",".join(PAIRS)}
    six.start()
    six.await_ready()
    six.wait_for("through", lambda: is_at_rest(six), 300.0)
    assert hash_by_pair(facts(six.servers, "hft.records")) == two.replayed
    assert set(six.stop().values()) == {0}


def is_at_rest(six: SixProcesses) -> bool:
    """Everything came out at the end of the line: nothing moves for longer than a look takes."""
    before = [six.state(name).get("read", 0) for name in NAMES]
    time.sleep(REST_S)
    return min(before) > 0 and before == [six.state(name).get("read") for name in NAMES]


@pytest.mark.parametrize("places", [(0,), (0, 0), (0, 1, 1)])
def test_each_pair_has_one_file(serving: Serving, two: TwoPairs, places: tuple[int, ...]) -> None:
    words = two.words(*places)
    serving.start("all", "--tape", two.tape, *words, PAIRS=",".join(PAIRS))
    assert serving.ended() == 3
    assert "the parameter files must be of" in serving.log.splitlines()[-1]


def test_pairs_on_two_grids_are_refused(serving: Serving, two: TwoPairs, tmp_path: Path) -> None:
    file = read_parameter_file(two.params[1].read_bytes())
    other = tmp_path / "other.json"
    params = msgspec.structs.replace(file.params, grid_ms=file.params.grid_ms * 2)
    other.write_bytes(msgspec.json.encode(msgspec.structs.replace(file, params=params)))
    serving.start("all", "--tape", two.tape, *two.words(0), "--params", other)
    assert serving.ended() == 3
    assert "grid_ms must be the same for all pairs of a line" in serving.log.splitlines()[-1]
