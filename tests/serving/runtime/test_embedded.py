"""The line of one process: recovery from wherever a crash left the journal."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from hft_lib.backtest.tally import Tally
from hft_lib.events import Event, Fill, Rejected
from hft_lib.stage import snapshot
from serving.runtime import embedded
from serving.runtime.embedded import Diverged, EmbeddedLine, LineSnapshot
from serving.runtime.journal import Journal, encode_fact, read, read_records
from serving.services import INBOXES
from tests.builders import Posts, story, story_config, told
from tests.serving.runtime.test_journal import frame_ends, header

POSTS = story()


def post(line: EmbeddedLine, posts: Posts) -> None:
    for log, fact in posts:
        line.feed(fact) if log == "ingestion" else line.post(log, fact)


def orders_sha256(path: Path) -> str:
    tally = Tally()
    for fact in read_records(path):
        tally.take(fact)
    return tally.orders_sha256()


class Run:
    """An uninterrupted run in a folder, snapshots every hundred facts of the feed."""

    def __init__(self, folder: Path) -> None:
        self.path, self.snapshots = folder / "journal", folder / "snapshots"
        self.saved: list[tuple[int, bytes]] = []  # frames, file
        with Journal(self.path, header()) as written:
            line = EmbeddedLine(story_config(), written, self.snapshots)
            for number, (log, fact) in enumerate(POSTS):
                post(line, [(log, fact)])
                if number % 100 == 99:
                    line.save()
                    self.saved.append((written.frames, self.snapshots.read_bytes()))
            self.states = states(line)
        self.content = self.path.read_bytes()
        self.sha256 = orders_sha256(self.path)


def states(line: EmbeddedLine) -> dict[str, bytes]:
    return {name: snapshot(host.state) for name, host in line.hosts.items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"))


def taken(path: Path) -> int:
    """How many facts of the edges a journal holds."""
    return sum(log in INBOXES for log, _ in read(path))


def crashed(run: Run, folder: Path, size: int, with_snapshot: bool) -> tuple[Path, Path]:
    """What a crash left: the journal's first `size` bytes, and the last snapshot before."""
    path, snapshots = folder / "journal", folder / "snapshots"
    path.write_bytes(run.content[:size])
    frames = sum(end <= size for end in frame_ends(run.path))
    before = [content for number, content in run.saved if number <= frames]
    if with_snapshot and before:
        snapshots.write_bytes(before[-1])
    return path, snapshots


def recovered(path: Path, snapshots: Path) -> EmbeddedLine:
    """The line gone on with to the story's end."""
    line = EmbeddedLine(story_config(), Journal.reopen(path), snapshots)
    line.recover()
    post(line, POSTS[taken_after_recovery(line) :])
    line.journal.close()
    return line


def taken_after_recovery(line: EmbeddedLine) -> int:
    line.journal.sync()
    return taken(line.journal.path)


def test_the_journal_holds_what_the_edges_brought_and_what_left(run: Run):
    kept = [encode_fact(item) for item in told().kept]
    assert [encode_fact(item) for item in read(run.path)] == kept


def test_the_lines_orders_have_the_hash_of_an_independent_count(run: Run):
    lines = sorted(
        (fact.time_ns, fact.client_order_id, fact)
        for log, fact in told().leaving
        if log == "hft.records" and type(fact).__name__ in ("CapitalOrder", "ShadowOrder")
    )
    text = "".join(
        f"{o.time_ns},{o.account},{o.pair},{o.leg},{o.side},{o.type},{o.quantity!r},,"
        f"{o.client_order_id}\n"
        for _, _, o in lines
    )
    assert run.sha256 == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("with_snapshot", [True, False], ids=["snapshot", "journal only"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.37, 0.5, 0.73, 0.9, 0.999])
def test_a_crash_anywhere_goes_on_to_the_same_orders(
    run: Run, tmp_path: Path, share: float, with_snapshot: bool
):
    path, snapshots = crashed(run, tmp_path, int(share * len(run.content)), with_snapshot)
    line = recovered(path, snapshots)
    assert orders_sha256(path) == run.sha256
    assert path.read_bytes() == run.content
    assert states(line) == run.states
    assert line.fed == sum(log == "ingestion" for log, _ in POSTS)


def test_a_crash_between_a_fact_and_what_it_led_to_is_made_good(run: Run, tmp_path: Path):
    ends, facts = frame_ends(run.path), list(read(run.path))
    ordered = next(
        number
        for number, (log, fact) in enumerate(facts)
        if log == "ingestion" and number + 1 < len(facts) and isinstance(facts[number + 1][1], Fill)
    )
    path, snapshots = crashed(run, tmp_path, ends[ordered + 1], True)  # the fact, not its fills
    line = EmbeddedLine(story_config(), Journal.reopen(path), snapshots)
    line.recover()
    line.journal.close()
    after = list(read(path))
    assert len(after) > ordered + 1
    assert [encode_fact(item) for item in after] == [
        encode_fact(item) for item in facts[: len(after)]
    ]


def test_recovering_twice_changes_nothing_more(run: Run, tmp_path: Path):
    path, snapshots = crashed(run, tmp_path, int(0.6 * len(run.content)), True)
    for _ in range(2):
        line = EmbeddedLine(story_config(), Journal.reopen(path), snapshots)
        line.recover()
        line.save()
        line.journal.close()
    recovered(path, snapshots)
    assert path.read_bytes() == run.content


def test_a_journal_of_other_code_is_refused(run: Run, tmp_path: Path):
    path, snapshots = crashed(run, tmp_path, int(0.4 * len(run.content)), False)
    facts = list(read(path))
    path.unlink()
    with Journal(path, header()) as written:
        dropped = next(n for n, (log, _) in enumerate(facts) if log == "hft.records")
        for number, (log, fact) in enumerate(facts):
            if number != dropped:
                written.append(log, fact)
    line = EmbeddedLine(story_config(), Journal.reopen(path), snapshots)
    with pytest.raises(Diverged):
        line.recover()


def test_a_journal_that_says_something_else_is_refused(run: Run, tmp_path: Path):
    path, snapshots = crashed(run, tmp_path, int(0.4 * len(run.content)), False)
    facts: list[tuple[str, Event]] = list(read(path))
    path.unlink()
    with Journal(path, header()) as written:
        for log, fact in facts:
            if isinstance(fact, Fill):
                fact = msgspec.structs.replace(fact, quantity=fact.quantity + 0.01)
            written.append(log, fact)
    line = EmbeddedLine(story_config(), Journal.reopen(path), snapshots)
    with pytest.raises(Diverged, match="not what the line makes of it"):
        line.recover()


def test_a_snapshot_ahead_of_its_journal_is_refused(run: Run, tmp_path: Path):
    path, snapshots = crashed(run, tmp_path, int(0.2 * len(run.content)), False)
    snapshots.write_bytes(run.saved[-1][1])
    line = EmbeddedLine(story_config(), Journal.reopen(path), snapshots)
    with pytest.raises(Diverged, match="snapshot"):
        line.recover()


def test_a_snapshot_is_written_when_it_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "SNAPSHOT_EVERY", 64)
    with Journal(tmp_path / "journal", header()) as written:
        line = EmbeddedLine(story_config(), written, tmp_path / "snapshots")
        post(line, POSTS[:50])
        assert not (tmp_path / "snapshots").exists()
        post(line, POSTS[50:202])
    content = (tmp_path / "snapshots").read_bytes()
    saved = msgspec.msgpack.decode(content, type=LineSnapshot)
    assert (line.fed, saved.fed) == (194, 192)
    assert 1 + 192 < saved.frames < written.frames
    assert {stage.stage for stage in saved.stages} == INBOXES


def test_a_sink_hears_what_leaves_the_line(tmp_path: Path):
    class Ear:
        logs = ("hft.records", "hft.registry")

        def __init__(self) -> None:
            self.heard: Posts = []

        def take(self, log: str, fact: Event) -> None:
            self.heard.append((log, fact))

    ear = Ear()
    with Journal(tmp_path / "journal", header()) as written:
        post(EmbeddedLine(story_config(), written, tmp_path / "snapshots", [ear]), POSTS)
    assert sorted(map(encode_fact, ear.heard)) == sorted(map(encode_fact, told().leaving))


def test_what_the_feed_refused_is_on_record_and_is_no_event(run: Run, tmp_path: Path):
    path, snapshots = tmp_path / "journal", tmp_path / "snapshots"
    refusal = Rejected(1, "feed", "CORRUPT", "BTC/USDT", "a frame cut off")
    with Journal(path, header()) as written:
        line = EmbeddedLine(story_config(), written, snapshots)
        for number, item in enumerate(POSTS):
            post(line, [item])
            if number % 50 == 10:
                line.feed(refusal)
    resumed = EmbeddedLine(story_config(), Journal.reopen(path), snapshots)
    resumed.recover()
    assert states(resumed) == run.states
    assert resumed.fed == line.fed == sum(log == "ingestion" for log, _ in POSTS)
    resumed.journal.close()
    noted = sum(fact == refusal for fact in read_records(path))
    assert noted == len(range(10, len(POSTS), 50))
