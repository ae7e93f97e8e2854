"""The layers of a saved image: of `docker save` (either of its forms) and of an OCI layout.

What is no image, or has a layer that cannot be read, raises `Unreadable`: a check that looked at
nothing must not pass for one that found nothing.
"""

import gzip
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# An index may hold indexes; no builder nests them deeper.
INDEX_DEPTH_MAX = 3
BAD = (KeyError, TypeError, ValueError, OSError, EOFError, tarfile.TarError, zlib.error)


class Unreadable(ValueError):
    """The file is no image, or a layer of it is none."""


class Layer(NamedTuple):
    """One layer: the name of the blob that holds it."""

    name: str


class Image(NamedTuple):
    """One image of an archive: its configuration and its layers, in their order."""

    config: dict[str, Any]
    layers: tuple[Layer, ...]


class Archive:
    """A saved image, as a tar file or as a folder (an OCI layout)."""

    def __init__(self, path: Path) -> None:
        """Open `path`; raises `Unreadable` where it is neither."""
        self._path = path
        try:
            self._tar = None if path.is_dir() else tarfile.open(path)
        except BAD as error:
            raise Unreadable(f"{path} must be a saved image, was none: {error}") from error

    def __enter__(self) -> Self:
        """The archive itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        if self._tar is not None:
            self._tar.close()

    def images(self) -> tuple[Image, ...]:
        """Every image in it, one a platform; at least one, each with at least one layer."""
        try:
            found = tuple(self._images())
        except BAD as error:
            raise Unreadable(f"{self._path} must be a saved image, was none: {error!r}") from error
        if not found or not all(image.layers for image in found):
            raise Unreadable(f"{self._path} must hold an image with layers, held none")
        return found

    def files(self, layer: Layer) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        """Each entry of a layer, with its content where it is a file.

        Raises `Unreadable` where the layer is cut or packed in a way that this does not know.
        """
        try:
            with self._open(layer.name) as stream, _unpacked(stream) as plain:
                with tarfile.open(fileobj=plain, mode="r|") as entries:
                    for entry in entries:
                        file = entries.extractfile(entry) if entry.isreg() else None
                        yield entry, file.read() if file is not None else b""
        except BAD as error:
            raise Unreadable(f"layer {layer.name} must be a tar file, was none: {error}") from error

    def packed(self, layer: Layer) -> int:
        """The bytes of a layer as a registry keeps it: packed by gzip, here or already.

        Raises `Unreadable` where the layer is packed in a way that this does not know.
        """
        try:
            with self._open(layer.name) as stream:
                is_packed = stream.read(4).startswith(GZIP)
                stream.seek(0)
                if is_packed:
                    return stream.seek(0, os.SEEK_END)
                with _unpacked(stream) as plain:
                    return _deflated(plain)
        except BAD as error:
            raise Unreadable(f"layer {layer.name} cannot be read: {error}") from error

    def _images(self) -> Iterator[Image]:
        if self._has("index.json"):
            yield from self._of_index(self._json("index.json"), INDEX_DEPTH_MAX)
            return
        for one in self._json("manifest.json"):
            layers = tuple(Layer(name) for name in one["Layers"])
            yield Image(self._json(one["Config"]), layers)

    def _of_index(self, index: dict[str, Any], depth: int) -> Iterator[Image]:
        if depth == 0:
            raise ValueError(f"indexes must be nested {INDEX_DEPTH_MAX} deep at most")
        for one in index["manifests"]:
            document = self._json(_blob(one["digest"]))
            if "manifests" in document:
                yield from self._of_index(document, depth - 1)
            elif not _is_statement(one):
                layers = tuple(Layer(_blob(layer["digest"])) for layer in document["layers"])
                yield Image(self._json(_blob(document["config"]["digest"])), layers)

    def _has(self, name: str) -> bool:
        if self._tar is None:
            return (self._path / name).is_file()
        return name in self._tar.getnames()

    def _json(self, name: str) -> Any:
        with self._open(name) as stream:
            return json.load(stream)

    def _open(self, name: str) -> IO[bytes]:
        if self._tar is None:
            return (self._path / name).open("rb")
        stream = self._tar.extractfile(name)
        if stream is None:
            raise ValueError(f"{name} must be a file, was none")
        return stream


def _blob(digest: str) -> str:
    kind, _, value = digest.partition(":")
    if not (kind.isalnum() and value.isalnum()):
        raise ValueError(f"a digest must be KIND:HEX, was {digest!r}")
    return f"blobs/{kind}/{value}"


def _is_statement(descriptor: dict[str, Any]) -> bool:
    """Whether it is what BuildKit says of an image: its origin, its packages."""
    notes = descriptor.get("annotations") or {}
    return "vnd.docker.reference.type" in notes


def _unpacked(stream: IO[bytes]) -> IO[bytes] | gzip.GzipFile:
    head = stream.read(4)
    stream.seek(0)
    if head.startswith(ZSTD):
        raise ValueError("it is packed by zstd, which this does not read: save the image by gzip")
    if head.startswith(GZIP):
        return gzip.open(stream)
    return stream


def _deflated(stream: IO[bytes] | gzip.GzipFile) -> int:
    """How many bytes are left of a stream when gzip has packed it at its usual level."""
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    size = 0
    while chunk := stream.read(1 << 20):
        size += len(packer.compress(chunk))
    return size + len(packer.flush())
