"""How much the text template matters: the share of the captions that the ratio rules keep inside it, and bare."""

from __future__ import annotations

import json

from synthvlm_dagster.captions.curate import Curator
from synthvlm_dagster.store.storage import Storage

KEPT_BY_TEMPLATE = "captions/kept_by_template.json"


def write_kept_by_template(storage: Storage, curator: Curator) -> None:
    """Keep what a finished curation counted, for the report."""
    content = {"rows": curator.rows, "kept": curator.kept_by_template}
    storage.write_bytes(KEPT_BY_TEMPLATE, json.dumps(content, ensure_ascii=False, indent=1).encode())


def read_kept_by_template(storage: Storage) -> dict[str, float]:
    """Share of the captions, in [0, 1], that the ratio rules keep, by text template; the recipe's comes first.

    Empty where nobody counted.
    """
    if not storage.exists(KEPT_BY_TEMPLATE):
        return {}
    content = json.loads(storage.read_bytes(KEPT_BY_TEMPLATE))
    return {template: kept / content["rows"] for template, kept in content["kept"].items()}
