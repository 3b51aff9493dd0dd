"""Whether the captions, scores and other facts of an export are those of the selected pairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import polars as pl

from synthvlm_dagster.dataset.exports.pictures import PICTURE
from synthvlm_dagster.markdown import shortened

_EXPECTED = "_expected"


def wrong_facts(found: pl.DataFrame, expected: pl.DataFrame, place: Callable[[str], str]) -> list[str]:
    """What the rows of an export say otherwise than the pairs they stand for, one sentence each.

    Args:
        found: image_id, and all columns of `expected` but the picture's; rows of no pair are left out.
        expected: as `expected_pairs` gives it, with columns named as in the export.
        place: where an image_id's row stands, for people.
    """
    names = [name for name in expected.columns if name not in ("image_id", PICTURE)]
    rows = found.join(expected, on="image_id", suffix=_EXPECTED, maintain_order="left")
    faults = []
    for name in names:
        actual, wanted = pl.col(name).cast(expected.schema[name], strict=False), pl.col(f"{name}{_EXPECTED}")
        differing = rows.filter(actual.ne_missing(wanted)).select("image_id", name, wanted)
        faults += [
            f"{place(image_id)}: {name} is {_shown(value)} in place of {_shown(right)}"
            for image_id, value, right in differing.iter_rows()
        ]
    return faults


def _shown(value: Any) -> str:
    return shortened(json.dumps(value, ensure_ascii=False, default=str))
