"""How much the form of the measured text matters: the share that the ratio rules keep of the bare and wrapped text."""

from __future__ import annotations

import json

from synthvlm_dagster.captions.curate import Curator
from synthvlm_dagster.store.storage import Storage

KEPT_BY_TEXT = "captions/kept_by_text.json"


def write_kept_by_text(storage: Storage, curator: Curator) -> None:
    """Keep what a finished curation counted, for the report."""
    content = {"rows": curator.rows, "kept": curator.kept_by_text}
    storage.write_bytes(KEPT_BY_TEXT, json.dumps(content, ensure_ascii=False, indent=1).encode())


def read_kept_by_text(storage: Storage) -> dict[str, float]:
    """Share of the captions, in [0, 1], that the ratio rules keep, by text template; the recipe's comes first.

    Empty for captions that were curated before this was counted.
    """
    if not storage.exists(KEPT_BY_TEXT):
        return {}
    content = json.loads(storage.read_bytes(KEPT_BY_TEXT))
    return {template: kept / content["rows"] for template, kept in content["kept"].items()}
