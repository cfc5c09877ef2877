"""The OpenAPI document of the API, against a golden file: a change of the API shows as a difference.

After an intended change, rewrite the golden file and read the difference:

    UPDATE_GOLDEN=1 .venv/bin/python -m pytest tests/admin/test_openapi.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.admin.world import World
from tests.rows import NO_DATABASE, NOWHERE

GOLDEN = Path(__file__).with_name("golden") / "openapi.json"


def test_the_openapi_document_is_that_of_the_golden_file(tmp_path: Path) -> None:
    """Without its version, which is the exporter's."""
    with World(NO_DATABASE, NOWHERE, tmp_path) as world:
        document = world.get("/openapi.json").json
    assert document["info"].pop("version")
    written = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(written)
    assert len(document["paths"]) > 10
    assert written.splitlines() == GOLDEN.read_text().splitlines()
