"""docs/events.json says what the code writes."""

import importlib.util
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def test_schema_of_the_facts_is_fresh() -> None:
    spec = importlib.util.spec_from_file_location(
        "events_schema", _ROOT / "scripts" / "events_schema.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PATH.read_bytes() == module.schema(), "run python scripts/events_schema.py"
