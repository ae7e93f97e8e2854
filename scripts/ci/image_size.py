"""Say how large a saved image is as a registry keeps it, and refuse one that is too large.

    docker save IMAGE > build/image.tar && python scripts/ci/image_size.py build/image.tar --as NAME

That is the sum of its layers packed by gzip, which is what a node fetches; of every platform, and
of every image where several were saved together. Exit code 1 where one is above what its kind may
be, or cannot be read.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.ci.image_kinds import KINDS
    from scripts.ci.image_layers import Archive, Unreadable
else:
    from image_kinds import KINDS
    from image_layers import Archive, Unreadable

MB = 1_000_000


def sizes(archive: Archive) -> list[int]:
    """The packed bytes of each image of an archive, in its order."""
    packed: dict[str, int] = {}
    found = []
    for image in archive.images():
        for layer in image.layers:
            if layer.name not in packed:  # platforms and images share layers
                packed[layer.name] = archive.packed(layer)
        found.append(sum(packed[layer.name] for layer in image.layers))
    return found


def main() -> int:
    """Say the sizes, and refuse what is too large."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path)
    parser.add_argument("--as", dest="kind", choices=KINDS, default="ingestion", help="which it is")
    given = parser.parse_args()
    limit = KINDS[given.kind].compressed_mb
    try:
        with Archive(given.archive) as archive:
            found = sizes(archive)
    except Unreadable as error:
        sys.stderr.write(f"image-size: {error}\n")
        return 1
    for size in found:
        sys.stdout.write(f"image-size: {size} bytes\n")
        if size > limit * MB:
            sys.stderr.write(f"image-size: must be at most {limit} MB, was {size / MB:.0f}\n")
    return 1 if max(found) > limit * MB else 0


if __name__ == "__main__":
    sys.exit(main())
