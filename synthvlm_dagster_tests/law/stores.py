"""What a store holds that a person can see, and in what two stores differ."""

from __future__ import annotations

import io
import json
import math
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from synthvlm_dagster.attempts.plan import read_plan, read_scores
from synthvlm_dagster.dataset.report.facts import gather_facts
from synthvlm_dagster.images.state import PlannedImages
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.embeddings import read_embeddings
from synthvlm_dagster.store.storage import Storage

Contents = dict[str, Any]
"""By name: frames, texts, bytes, plain values."""

KEPT_FOR_LATER = ("images/", "failed_images/", "scores/", "embeddings/", "captions/measurements/", "failed_checks/")
"""What other recipes made stays there; of these, what the recipe names is read as the pipeline reads it."""
_COST = re.compile(r'<a href="#cost">Cost</a>|<section id="cost">.*?</section>\s*', re.DOTALL)
"""The report's part that tells the time which images took."""


def contents(recipe: Recipe) -> Contents:
    """Everything that a finished store holds for a recipe, with nothing of when and where it was made."""
    storage = Storage(recipe.storage)
    found: Contents = dict(_read_for(recipe, storage))
    for path in storage.files(""):
        if not path.startswith(KEPT_FOR_LATER):
            found[path] = _read_file(path, Path(storage.url(path)).read_bytes())
    return {name: value for name, value in found.items() if value is not None}


def differences(expected: Contents, found: Contents) -> list[str]:
    """One line for each thing that is missing, too much, or another."""
    lines = [f"{name}: is missing" for name in sorted(expected.keys() - found.keys())]
    lines += [f"{name}: is too much" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(expected.keys() & found.keys()):
        if difference := _difference(expected[name], found[name]):
            lines.append(f"{name}: {difference}")
    return lines


def _read_for(recipe: Recipe, storage: Storage) -> Iterator[tuple[str, Any]]:
    """What stands in folders that other recipes may share, as the pipeline reads it for this one."""
    plan = read_plan(recipe, storage)
    yield "plan", plan.sort("image_id")
    images = PlannedImages.read(recipe, storage, plan)
    yield "images", images.scan().collect().sort("image_id")
    yield "failed images", images.failed.sort("image_id")
    scores = read_scores(recipe, storage).collect().sort("image_id")
    yield "scores", scores
    for shard in recipe.shard_keys:
        scored = scores.filter(pl.col("shard") == shard)["image_id"]
        ids, rows = read_embeddings(recipe, storage, shard, scored)
        yield f"embeddings of shard {shard}", dict(zip(ids, rows.tolist(), strict=True))
    yield "facts of the report", asdict(gather_facts(recipe, storage))


def _read_file(path: str, content: bytes) -> Any:
    if path.endswith(".parquet"):
        return pl.read_parquet(io.BytesIO(content))
    if path.endswith(".tar"):
        return _members(content)
    if path.endswith("croissant.json"):
        return json.loads(content)
    if path.endswith(".made_from.json"):
        return None
    if path.endswith("report/index.html"):
        return _COST.sub("", content.decode())
    if path.endswith((".md", ".json", ".html")):
        return content.decode()
    return content


def _members(content: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def _difference(expected: Any, found: Any) -> str:
    """In a few words what is another; empty where nothing is."""
    if type(expected) is not type(found):
        return f"is a {type(found).__name__}, not a {type(expected).__name__}"
    compare: dict[type, Callable[[Any, Any], str]] = {
        pl.DataFrame: _frame_difference,
        str: _text_difference,
        dict: _mapping_difference,
        list: _list_difference,
        tuple: _list_difference,
    }
    if expected.equals(found) if isinstance(expected, pl.DataFrame) else _same(expected, found):
        return ""
    return compare.get(type(expected), lambda *_: f"{_short(found)} in place of {_short(expected)}")(expected, found)


def _same(expected: Any, found: Any) -> bool:
    """Equality, but of means, whose last digit depends on the order in which threads add up."""
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(expected, found, rel_tol=1e-12, abs_tol=1e-12)
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(_same(value, found[name]) for name, value in expected.items())
    if isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        return len(expected) == len(found) and all(_same(*pair) for pair in zip(expected, found, strict=True))
    return bool(expected == found)


def _frame_difference(expected: pl.DataFrame, found: pl.DataFrame) -> str:
    try:
        assert_frame_equal(expected, found, check_exact=True)
    except AssertionError as error:
        said = str(error).partition("\n")[0]
    else:
        return ""
    if expected.columns != found.columns:
        return f"columns {found.columns} in place of {expected.columns}"
    key = next((name for name in ("image_id", "caption_id") if name in expected.columns), None)
    if key is None:
        return said
    lost, gained = (_only(one, other, key) for one, other in ((expected, found), (found, expected)))
    if lost or gained:
        return f"{found.height} rows in place of {expected.height}; lacks {lost}; has too much {gained}"
    if expected.height == found.height and not (expected[key] == found[key]).all():
        return f"the same rows in another order: {found[key].to_list()} in place of {expected[key].to_list()}"
    if expected.height != found.height:
        return f"{found.height} rows in place of {expected.height}"
    columns = [name for name in expected.columns if not expected[name].equals(found[name], null_equal=True)]
    if not columns:
        return said
    place = next(row for row in range(expected.height) if expected[columns[0]][row] != found[columns[0]][row])
    return (
        f"another {', '.join(columns)}; {expected[key][place]} has {columns[0]} {_short(found[columns[0]][place])} in "
        f"place of {_short(expected[columns[0]][place])}"
    )


def _only(one: pl.DataFrame, other: pl.DataFrame, key: str) -> list[str]:
    return sorted(set(one[key]) - set(other[key]))


def _text_difference(expected: str, found: str) -> str:
    pairs = zip(expected.splitlines(), found.splitlines(), strict=False)
    first = next(((was, now) for was, now in pairs if was != now), None)
    if first is None:
        return f"{len(found.splitlines())} lines in place of {len(expected.splitlines())}"
    return f"{_short(first[1])} in place of {_short(first[0])}"


def _mapping_difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    return "; ".join(
        f"{name}: {_difference(expected.get(name), found.get(name))}"
        for name in sorted(expected.keys() | found.keys())
        if not _same(expected.get(name), found.get(name))
    )


def _list_difference(expected: Sequence[Any], found: Sequence[Any]) -> str:
    if len(expected) != len(found):
        return f"{len(found)} in place of {len(expected)}: {_short(found)} in place of {_short(expected)}"
    pairs = enumerate(zip(expected, found, strict=True))
    place = next(number for number, (was, now) in pairs if not _same(was, now))
    return f"item {place}: {_difference(expected[place], found[place])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
