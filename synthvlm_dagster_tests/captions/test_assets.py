"""The stage as Dagster runs it: tables, metadata, checks."""

import json

import dagster as dg
import pytest

from synthvlm_dagster.captions.assets import caption_assets
from synthvlm_dagster.captions.checks import caption_checks
from synthvlm_dagster.captions.made_from import source_version
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Recipe

LINES = [
    "A brown dog runs along a quiet beach at sunset.",
    "a brown dog runs along a quiet beach at sunset",
    "Two | cats <script>alert(1)</script> [sleep](http://e.org) **here** now | now!!!!!! ;;;;;;;;;;;;;;;;;;;;;;",
    "A cat sleeps on a red sofa.",
    None,
]


@pytest.fixture
def materialized(tmp_path):
    """Runs the stage on the given captions; gives the result, the store and the recipe."""

    def run(captions, **changed):
        path = tmp_path / "captions.jsonl"
        path.write_text("\n".join(json.dumps({"caption": caption}) for caption in captions))
        recipe = Recipe.model_validate(
            {
                "name": "captions",
                "storage": str(tmp_path / "store"),
                "sources": [{"name": "lines", "path": str(path), "max_bad_share": 0.5}],
                "generation": {"model": "none"},
                "selection": {"share": 0.5},
                **changed,
            }
        )
        dataset = Dataset(recipe)
        result = dg.materialize(
            [*caption_assets(dataset), *caption_checks(dataset)],
            raise_on_error=False,
        )
        return result, dataset.storage, recipe

    return run


def metadata_of(result, asset):
    (event,) = [event for event in result.get_asset_materialization_events() if event.asset_key == dg.AssetKey(asset)]
    return event.materialization.metadata, event.materialization.tags


def check_of(result, name):
    (evaluation,) = [found for found in result.get_asset_check_evaluations() if found.check_name == name]
    return evaluation


def test_tables_hold_every_caption_once(materialized):
    result, storage, recipe = materialized(LINES)
    assert result.success
    raw, curated, rejected = (storage.scan(f"captions/{name}").collect() for name in ("raw", "curated", "rejected"))
    assert raw["text"].to_list() == LINES
    assert curated["text"].to_list() == [LINES[0], LINES[3]]
    assert rejected["rejected_by"].to_list() == ["duplicates", "alnum_ratio", "unreadable_row"]
    assert set(curated["shard"]) <= set(recipe.shard_keys)


def test_metadata_says_what_came_in_and_what_was_rejected(materialized):
    result, storage, recipe = materialized(LINES)
    raw, tags = metadata_of(result, "raw_captions")
    assert raw["dagster/row_count"].value == 5
    assert raw["unreadable_rows"].value == 1
    assert raw["source_version"].value == source_version(recipe.sources)
    assert "| lines | 1 | 5 | 1 | caption is null |" in raw["sources"].md_str
    assert [record.data["text"] for record in raw["preview"].records] == [*LINES[:4], ""]
    assert tags["dagster/data_version"] == storage.version("captions/raw")

    for asset, count in (("curated_captions", 2), ("rejected_captions", 3)):
        metadata, _ = metadata_of(result, asset)
        assert metadata["dagster/row_count"].value == count
        assert metadata["kept_share"].value == 0.4
        assert "| duplicates | 1 | 20.00% | a brown dog runs" in metadata["rejected_by_rule"].md_str
        assert "| unreadable_row | 1 | 20.00% | caption is null |" in metadata["rejected_by_rule"].md_str
        assert "| alnum_ratio | ≥ 0.6 |" in metadata["statistics"].md_str
        assert all(column.description for column in metadata["dagster/column_schema"].schema.columns)


def test_metadata_shows_the_captions_that_each_rule_is_about(materialized):
    result, _, _ = materialized(LINES, curation={"rules": {"num_words": {"min": 8}}})
    curated, rejected = (metadata_of(result, f"{table}_captions")[0] for table in ("curated", "rejected"))
    assert (
        "| num_words | ≥ 8 | 10 | kept | A brown dog runs along a quiet beach at sunset. |"
        in curated["borderline"].md_str
    )
    assert "| num_words | ≥ 8 | 7 | rejected | A cat sleeps on a red sofa. |" in curated["borderline"].md_str
    assert "| num_words | 7 | lines | A cat sleeps on a red sofa. |" in rejected["most_rejected"].md_str
    assert "| unreadable_row |  | lines | caption is null |" in rejected["most_rejected"].md_str
    for metadata in (curated, rejected):
        kept = [line for line in metadata["kept_by_template"].md_str.splitlines() if "%" in line]
        assert len(kept) == 2
        assert "this recipe" in kept[0]


def test_materializing_again_gives_the_same_version(materialized):
    first, _, _ = materialized(LINES)
    second, _, _ = materialized(LINES)
    for asset in ("raw_captions", "curated_captions", "rejected_captions"):
        assert (
            metadata_of(first, asset)[1]["dagster/data_version"]
            == metadata_of(second, asset)[1]["dagster/data_version"]
        )


def test_checks_pass_on_good_captions(materialized):
    result, _, _ = materialized([LINES[0], LINES[3]])
    assert check_of(result, "rows_are_readable").passed
    assert check_of(result, "captions_are_left").passed


def test_a_source_with_many_unreadable_rows_is_warned_of(materialized):
    result, _, _ = materialized(LINES)
    check = check_of(result, "rows_are_readable")
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.description == "source lines: 1 of 5 rows, most often: caption is null"
    assert result.success


def test_no_caption_left_stops_the_run_and_names_the_rules(materialized):
    result, _, _ = materialized(LINES, curation={"rules": {"num_words": {"min": 50}}})
    check = check_of(result, "captions_are_left")
    assert not check.passed
    assert check.blocking
    assert "num_words (4), unreadable_row (1)" in check.description
    assert not result.success


def test_a_missing_file_fails_with_its_name(materialized, tmp_path):
    result, _, _ = materialized(LINES, sources=[{"name": "gone", "path": str(tmp_path / "gone.json")}])
    (failure,) = result.get_step_failure_events()
    assert "source gone: " in str(failure.step_failure_data.error)
    assert "no such file" in str(failure.step_failure_data.error)
