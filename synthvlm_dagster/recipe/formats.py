"""The layouts of caption files that a recipe can name; how each is read: `captions.formats`."""

from __future__ import annotations

_COLUMNS = frozenset({"columns"})
_TABLE = frozenset({"header", "column_names", "columns"})
_NOTHING: frozenset[str] = frozenset()

FORMAT_SETTINGS: dict[str, frozenset[str]] = {
    "llava": _NOTHING,
    "synthvlm": _COLUMNS,
    "coco": _NOTHING,
    "sbu": _NOTHING,
    "partiprompts": _COLUMNS,
    "cc3m": _TABLE,
    "cc12m": _TABLE,
    "laion-coco": _COLUMNS,
    "datacomp": _COLUMNS,
    "coyo": _COLUMNS,
    "laion": _COLUMNS,
    "webdataset": _COLUMNS,
    "huggingface": _COLUMNS,
    "tsv": _TABLE,
    "csv": _TABLE | {"separator"},
    "jsonl": _COLUMNS,
    "txt": _NOTHING,
    "parquet": _COLUMNS,
}
"""Format → the settings of a source that it has use for, of those that not all have; in the order in which `auto` asks
whether a file is in it, the more particular ones first."""
