"""Pairs with their images: in the same order whatever files the images came in."""

import polars as pl
import pytest

from synthvlm_dagster.attempts.plan import read_plan
from synthvlm_dagster.dataset import pairs as pairs_module
from synthvlm_dagster.dataset.pairs import SELECTED, with_images
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.dataset.conftest import good_captions


def files_again(storage: Storage, table: str, rows: pl.DataFrame, per_file: int) -> None:
    """Write a table's rows anew, in other files."""
    for path in storage.files(table):
        storage.delete(path)
    for number, part in enumerate(rows.iter_slices(per_file)):
        storage.write_chunk(table, f"chunk-{number}.parquet", part)


@pytest.mark.parametrize("bytes_in_memory", [1, 1 << 20], ids=["through a file", "in memory"])
def test_the_order_does_not_tell_in_which_files_the_images_came(make_project, monkeypatch, bytes_in_memory):
    monkeypatch.setattr(pairs_module, "_BYTES_IN_MEMORY", bytes_in_memory)
    project = make_project(good_captions(150), selection={"share": 1.0})
    recipe, storage = project.recipe, project.storage
    selected = storage.scan(SELECTED).collect()
    expected = pl.concat(with_images(recipe, storage, selected))
    assert expected["image_id"].to_list() == selected.sort("shard", "image_id")["image_id"].to_list()
    plan = read_plan(recipe, storage)
    for shard in recipe.shard_keys:
        table = images_table(recipe, shard)
        rows = storage.scan(table).collect().unique("image_id", maintain_order=True)
        assert set(rows["image_id"]) == set(plan.filter(pl.col("shard") == shard)["image_id"])
        files_again(storage, table, rows.sample(fraction=1, shuffle=True, seed=1), per_file=7)
    assert pl.concat(with_images(recipe, storage, selected)).equals(expected)


def test_at_most_a_few_dozen_pairs_come_at_once(make_project):
    project = make_project(good_captions(150), selection={"share": 1.0}, shards=1)
    sizes = [part.height for part in with_images(project.recipe, project.storage, project.selected)]
    assert sum(sizes) == project.selected.height > 64
    assert max(sizes) <= 64
