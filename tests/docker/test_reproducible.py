"""Two builds of an image are held against each other; a builder that gives two is told of."""

from pathlib import Path

import pytest

from tests.docker.test_images import ROOT, SCRIPTS, run
from tests.scripts.ci import saved_images as made

# Stands for the builder: it notes its calls and gives an image that the test made up for the tag.
DOCKER = """#!/bin/sh
echo "$@" >> "$GIVEN/calls"
[ "$1" = build ] && [ -e "$GIVEN/fails" ] && exit 1
[ "$1" = save ] && cp "$GIVEN/${4##*-}.tar" "$3"
exit 0
"""


@pytest.fixture
def builder(tmp_path: Path) -> Path:
    """The folder of a builder that gives the same image twice."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    for number, build in enumerate("ab"):
        layers = [made.layer({"app/a.py": b"a = 1\n"}, mtime=number)]
        made.saved(tmp_path / f"{build}.tar", layers)
    return tmp_path


def reproduced(builder: Path, *words: str):
    """The script with that builder."""
    return run(
        SCRIPTS / "reproducible.sh",
        *words,
        DOCKER=str(builder / "docker"),
        GIVEN=str(builder),
        IMAGE_PREFIX="hft-crypto-bot",
    )


def test_an_image_that_is_the_same_twice_passes(builder: Path) -> None:
    done = reproduced(builder, "execution")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "image-compare: 0 differences"
    calls = (builder / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["build", "save", "build", "save"]
    assert all("--no-cache" in call for call in calls[::2])
    assert calls[0].replace("-a", "-b") == calls[2].replace("-a", "-b")


def test_one_that_differs_or_holds_a_secret_does_not(builder: Path) -> None:
    other = made.layer({"app/a.py": b"a = 2\n"})
    made.saved(builder / "b.tar", [other])
    done = reproduced(builder, "execution")
    assert done.returncode == 1 and "/app/a.py" in done.stderr
    made.saved(builder / "a.tar", [made.layer({"app/.env": b"A=1\n"})])
    done = reproduced(builder, "execution")
    assert done.returncode == 1 and "settings at /app/.env" in done.stderr


def test_a_build_that_fails_is_not_compared(builder: Path) -> None:
    (builder / "fails").touch()
    done = reproduced(builder, "execution")
    assert done.returncode == 1 and "compare" not in done.stdout
    assert len((builder / "calls").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "an image must be named"),
        (("--fast",), "no option is called --fast"),
        (("execution", "mlflow"), "one image at a time"),
        (("--keep",), "--keep must have a value"),
    ],
)
def test_bad_usage_ends_with_2(builder: Path, words: tuple[str, ...], told: str) -> None:
    done = reproduced(builder, *words)
    assert done.returncode == 2 and told in done.stderr


def test_what_depends_on_chance_is_fixed_in_a_build() -> None:
    """Constants of byte code are in the order of a hash, whose seed is else another each time."""
    for name in ("services", "pipelines", "mlflow"):
        text = (ROOT / "docker" / name / "Dockerfile").read_text()
        first = text.partition("\nFROM ")[2].partition("\nFROM ")[0]
        assert first.index("PYTHONHASHSEED=0") < first.index("-m compileall"), name
        assert "--invalidation-mode unchecked-hash" in first
    text = (ROOT / ".github" / "workflows" / "image.yml").read_text()
    assert text.count("SOURCE_DATE_EPOCH:") == text.count("docker/build-push-action@") == 3
    kept = text.count("outputs: type=")  # the third is only run
    assert text.count("rewrite-timestamp=true") == kept == 2
