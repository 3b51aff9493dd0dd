"""Tables of the store that were cut, changed, or are none: an error that names the file, or one that leads to it."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.attempts.state import planned_images
from synthvlm_dagster.captions.tables import RAW
from synthvlm_dagster.dataset.exports.card import write_card
from synthvlm_dagster.dataset.exports.llava import write_llava
from synthvlm_dagster.dataset.exports.webdataset import write_webdataset
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.dataset.report.page import write_report
from synthvlm_dagster.errors import ImageError, SynthVLMError
from synthvlm_dagster.store.storage import UNREADABLE_TABLE
from synthvlm_dagster_tests.dataset.conftest import make_project  # noqa: F401 - the fixture
from synthvlm_dagster_tests.hardening.damage import MORE, damaged, examples

READERS = (
    lambda _, storage: list(storage.batches(RAW)),
    planned_images,
    write_card,
    write_llava,
    write_webdataset,
)


def test_spoiled_tables_are_named(make_project):  # noqa: F811
    project = make_project()
    recipe, storage = project.recipe, project.storage
    paths = storage.files("", ".parquet")
    assert {path.split("/")[0] for path in paths} == {"captions", "plans", "images", "scores", "dataset"}
    sound = {path: storage.read_bytes(path) for path in paths}

    def columns(path: str) -> pl.Schema:
        return storage.scan_files([path]).collect_schema()

    names = {path: columns(path) for path in paths}
    tried: set[tuple[str, bytes]] = set()
    found = 0

    @examples(100)
    @given(st.data())
    def attack(data: st.DataObject) -> None:
        nonlocal found
        path = data.draw(st.sampled_from(paths))
        content = data.draw(damaged(sound[path]))
        tried.add((path, content))
        storage.write_bytes(path, content)
        try:
            for read in READERS:
                try:
                    read(recipe, storage)
                except SynthVLMError as error:
                    found += 1
                    told = str(error)
                    assert isinstance(error, ImageError) or path.split("/")[0] in told or "shard" in told
                except UNREADABLE_TABLE:
                    found += 1
                    is_another_table = not storage.damaged_tables() and columns(path) != names[path]
                    assert is_another_table or storage.damaged_tables() == [storage.url(path)]
        finally:
            storage.write_bytes(path, sound[path])

    attack()
    assert len(tried) >= (MORE or 100) // 2
    assert found


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(30), b"<html>", b"PAR1" + b"\xff" * 30 + b"PAR1"])
@pytest.mark.parametrize("table", ["captions/curated", "captions/rejected", "plans/attempts", SELECTED])
def test_what_is_no_table_is_told_with_the_remedy(make_project, table, content):  # noqa: F811
    project = make_project()
    path = f"{table}/table.parquet"
    project.storage.write_bytes(path, content)
    with pytest.raises(
        SynthVLMError, match=r"table\.parquet: is damaged: .*Delete it, and materialize the asset"
    ) as error:
        write_report(project.recipe, project.storage)
    assert project.storage.url(path) in str(error.value)
    assert project.storage.damaged_tables() == [project.storage.url(path)]
    project.storage.delete(path)
    with pytest.raises(SynthVLMError, match="no such table; materialize the asset that writes it"):
        write_report(project.recipe, project.storage)
