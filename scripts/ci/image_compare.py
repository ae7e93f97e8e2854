"""Hold two saved images against each other, layer by layer and file by file.

    python scripts/ci/image_compare.py A.tar B.tar

Names, kinds, modes, owners, links and contents must be the same, and the configuration but for the
times at which the two were made. Exit code 1 where something differs, and a line for each.
Times of files are left out: BuildKit sets them at the export (`rewrite-timestamp`), which gives
equal layers equal digests.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scripts.ci.image_layers import Archive, Image, Layer, Unreadable
else:
    from image_layers import Archive, Image, Layer, Unreadable

# What a builder notes of itself and of the hour: the time, its container, the layers' digests,
# which follow from the times of files.
OF_THE_BUILD = {"created", "container", "container_config", "docker_version", "rootfs", "Image"}
LINES_MAX = 40
State = tuple[object, ...]


def states(archive: Archive, layer: Layer) -> dict[str, State]:
    """What each path of a layer is, its time left out."""
    return {
        f"/{entry.name}": (
            entry.type,
            oct(entry.mode),
            (entry.uid, entry.gid),
            entry.linkname,
            entry.size,
            hashlib.sha256(content).hexdigest()[:16],
        )
        for entry, content in archive.files(layer)
    }


def told(value: Any) -> Any:
    """A configuration without what is of one build alone."""
    if isinstance(value, dict):
        return {key: told(inner) for key, inner in value.items() if key not in OF_THE_BUILD}
    return [told(inner) for inner in value] if isinstance(value, list) else value


def differences(a: Archive, b: Archive) -> Iterator[str]:
    """A sentence for each thing that differs."""
    ours, theirs = a.images(), b.images()
    if len(ours) != len(theirs):
        yield f"images: {len(ours)} and {len(theirs)}"
        return
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        yield from of_images(f"image {number}", (a, one), (b, other))


def of_images(name: str, a: tuple[Archive, Image], b: tuple[Archive, Image]) -> Iterator[str]:
    """The same of two images."""
    if told(a[1].config) != told(b[1].config):
        words = (json.dumps(told(image.config), sort_keys=True) for _, image in (a, b))
        yield f"{name}: configuration {' and '.join(words)}"
    if len(a[1].layers) != len(b[1].layers):
        yield f"{name}: layers {len(a[1].layers)} and {len(b[1].layers)}"
        return
    for number, (one, other) in enumerate(zip(a[1].layers, b[1].layers, strict=True)):
        # A blob's name is the hash of it; other names say nothing.
        if one.name != other.name or not one.name.startswith("blobs/"):
            mine, theirs = states(a[0], one), states(b[0], other)
            for path in sorted(set(mine) | set(theirs)):
                if mine.get(path) != theirs.get(path):
                    pair = f"{mine.get(path)} and {theirs.get(path)}"
                    yield f"{name}, layer {number}: {path}: {pair}"


def main() -> int:
    """Say what differs."""
    if len(sys.argv) != 3 or any(word.startswith("-") for word in sys.argv[1:]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        with Archive(Path(sys.argv[1])) as a, Archive(Path(sys.argv[2])) as b:
            found = list(differences(a, b))
    except Unreadable as error:
        sys.stderr.write(f"image-compare: {error}\n")
        return 1
    for line in found[:LINES_MAX]:
        sys.stderr.write(f"image-compare: {line}\n")
    if len(found) > LINES_MAX:
        sys.stderr.write(f"image-compare: and {len(found) - LINES_MAX} more\n")
    sys.stdout.write(f"image-compare: {len(found)} differences\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
