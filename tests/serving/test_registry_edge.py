"""What the registry edge has told: each version once, and after a crash what is missing."""

import msgspec

from hft_lib.events import Registered
from hft_lib.parameters import parameter_sha256
from serving.registry_edge import Told
from tests.hft_lib.registry_world import PARAMETERS, pair_of

PAIR, OTHER = pair_of("BTC"), pair_of("ETH")


def said(version: str, pair: str = PAIR, alias: str = "champion") -> Registered:
    return Registered(
        time_ns=1,
        pair=pair,
        alias=alias,
        parameters=PARAMETERS,
        parameters_sha256=parameter_sha256(PARAMETERS),
        model_version=version,
        run_id="",
        git_commit="",
        tape_sha256="",
    )


def test_a_version_is_news_once_whatever_it_is_called():
    told = Told(number=2, versions={PAIR: ("1",)})
    found = [said("1"), said("2", alias="a"), said("2", alias="b"), said("1", OTHER)]
    news = told.news(found)
    assert [(item.pair, item.model_version, item.alias) for item in news] == [
        (PAIR, "2", "a"),
        (OTHER, "1", "champion"),
    ]
    assert told.then(5, news).news(found) == []


def test_what_was_told_comes_back_whole_with_what_may_not_be_in_the_log():
    told = Told(number=0, versions={}).then(3, [said("1"), said("2")]).then(5, [said("3")])
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=Told)
    assert again == told
    assert (again.number, again.versions[PAIR]) == (5, ("1", "2", "3"))
    assert [item.model_version for item in again.pending] == ["3"]
