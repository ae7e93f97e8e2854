"""Write docs/events.json: the JSON Schema of every fact, as the logs hold it."""

from pathlib import Path

import msgspec

from hft_lib.events import SCHEMA_VERSION, Event

PATH = Path(__file__).resolve().parent.parent / "docs" / "events.json"


def schema() -> bytes:
    """The schema of every fact by name, with the version that a log's header carries."""
    _, components = msgspec.json.schema_components([Event], ref_template="#/$defs/{name}")
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Facts of hft-crypto-bot",
        "version": SCHEMA_VERSION,
        "$defs": dict(sorted(components.items())),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


if __name__ == "__main__":
    PATH.write_bytes(schema())
