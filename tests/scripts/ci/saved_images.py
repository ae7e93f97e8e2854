"""Images made up for tests: as `docker save` writes them, and as an OCI layout."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Files = Mapping[str, bytes]


def layer(files: Files, **how: Any) -> bytes:
    """A layer of these files; `how` is set on each entry (mtime, mode, uid)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for key, value in how.items():
                setattr(entry, key, value)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def archive(path: Path, files: Files) -> Path:
    """A tar of these files at `path`."""
    path.write_bytes(layer(files))
    return path


def saved(path: Path, layers: Sequence[bytes], config: Mapping[str, Any] | None = None) -> Path:
    """What `docker save` writes of one image, in its older form."""
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["made:up"], "Layers": names}]
    files = dict(zip(names, layers, strict=True))
    files["config.json"] = json.dumps(config or {}).encode()
    files["manifest.json"] = json.dumps(manifest).encode()
    return archive(path, files)


def blob(files: dict[str, bytes], content: bytes) -> dict[str, Any]:
    """Put `content` among the blobs of a layout, and describe it."""
    digest = hashlib.sha256(content).hexdigest()
    files[f"blobs/sha256/{digest}"] = content
    return {"digest": f"sha256:{digest}", "size": len(content)}


def layout(
    path: Path, platforms: Sequence[Sequence[bytes]], config: Mapping[str, Any] | None = None
) -> Path:
    """An OCI layout as BuildKit writes it: an index of platforms and of a statement about them."""
    files: dict[str, bytes] = {}
    manifests = []
    for layers in platforms:
        document = {
            "config": blob(files, json.dumps(config or {}).encode()),
            "layers": [blob(files, gzip.compress(one)) for one in layers],
        }
        manifests.append(blob(files, json.dumps(document).encode()))
    statement = blob(files, json.dumps({"config": {}, "layers": []}).encode())
    kind = {"vnd.docker.reference.type": "attestation-manifest"}
    manifests.append({**statement, "annotations": kind})
    inner = blob(files, json.dumps({"manifests": manifests}).encode())
    files["index.json"] = json.dumps({"manifests": [inner]}).encode()
    return archive(path, files)
