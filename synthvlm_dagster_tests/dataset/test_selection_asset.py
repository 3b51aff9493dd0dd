"""selected_pairs over a scored store: what it writes, says and refuses, and what its checks see."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from synthvlm_dagster.attempts.plan import read_scores
from synthvlm_dagster.dataset.assets import selected_pairs
from synthvlm_dagster.dataset.checks import every_image_is_scored, exactly_k_unique_pairs, selected_images_open
from synthvlm_dagster.dataset.coverage import complete_scores, score_coverage
from synthvlm_dagster.dataset.integrity import absent_images, selection_faults, unreadable_images
from synthvlm_dagster.dataset.pairs import SELECTED, SET_ASIDE
from synthvlm_dagster.dataset.selection import SELECTED_COLUMNS, SET_ASIDE_COLUMNS
from synthvlm_dagster.errors import IncompleteShardsError, SelectionError, StorageError
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Recipe, Selection
from synthvlm_dagster.scores.naming import scores_table
from synthvlm_dagster.scores.table import SCORES_SCHEMA
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.pictures import add_pictures, captions_in_shards, plan

SHARDS = ["0000", "0001"]


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe], tiny_clip_folder: Path) -> Recipe:
    clip = {"model": str(tiny_clip_folder), "pretrained": None}
    return tiny_recipe(scoring={"clip": clip}, selection={"count": 5})


@pytest.fixture
def storage(recipe: Recipe) -> Storage:
    """Twelve captions with three attempts each, drawn and given scores that their place in the plan decides."""
    storage = Storage(recipe.storage)
    plan(storage, captions_in_shards(12, SHARDS), attempts=3)
    for shard in SHARDS:
        add_scores(recipe, storage, shard, add_pictures(recipe, storage, shard))
    return storage


def add_scores(recipe: Recipe, storage: Storage, shard: str, planned: pl.DataFrame) -> None:
    place = pl.int_range(pl.len())
    scores = planned.with_columns(clip_score=(place * 7 % 18) / 100, ssim=(place * 5 % 18) / 20)
    storage.write_chunk(scores_table(recipe, shard), "chunk-0.parquet", scores.select(*SCORES_SCHEMA))


def materialize(recipe: Recipe, storage: Storage, **options: object) -> dg.ExecuteInProcessResult:
    dataset = Dataset(recipe)
    checks = (exactly_k_unique_pairs, selected_images_open, every_image_is_scored)
    definitions = dg.Definitions(
        assets=[selected_pairs(dataset)],
        asset_checks=[check(dataset) for check in checks],
    )
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance, **options)


def passed(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def test_selects_describes_and_checks(recipe: Recipe, storage: Storage) -> None:
    result = materialize(recipe, storage)
    assert passed(result) == {
        "exactly_k_unique_pairs": True,
        "selected_images_open": True,
        "every_image_is_scored": True,
    }
    selected = storage.scan(SELECTED).collect()
    scores = read_scores(recipe, storage).collect()
    assert selected.columns == list(SELECTED_COLUMNS)
    assert selected.height == 5
    metadata = result.asset_materializations_for_node("selected_pairs")[0].metadata
    assert metadata["images_generated"].value == scores.height == 36
    assert metadata["images_best_attempts"].value == 12
    assert metadata["images_selected"].value == metadata["dagster/row_count"].value == 5
    assert metadata["mean_ssim_generated"].value == pytest.approx(scores["ssim"].mean())
    assert metadata["mean_weighted_score_selected"].value == pytest.approx(selected["weighted_score"].mean())
    means = [metadata[f"mean_weighted_score_{group}"].value for group in ("generated", "best_attempts", "selected")]
    assert means == sorted(means)
    assert [record.data["rank"] for record in metadata["highest"].records] == [1, 2, 3, 4, 5]
    assert "generated" in metadata["clip_score_histogram"].value
    assert "selected" in metadata["clip_score_histogram"].value


def test_selecting_again_gives_the_same_rows_and_version(recipe: Recipe, storage: Storage) -> None:
    materialize(recipe, storage)
    rows, version = storage.scan(SELECTED).collect(), storage.version(SELECTED)
    materialize(recipe, storage)
    assert storage.scan(SELECTED).collect().equals(rows)
    assert storage.version(SELECTED) == version


def test_captions_with_markup_stay_text(recipe: Recipe, storage: Storage) -> None:
    planned = storage.scan("plans/attempts").with_columns(text=pl.lit("<img src=x onerror=alert(1)> | a *b*")).collect()
    storage.write_table("plans/attempts", planned)
    for shard in SHARDS:
        table = scores_table(recipe, shard)
        chunk = storage.scan(table).with_columns(text=pl.lit("<img src=x onerror=alert(1)> | a *b*")).collect()
        storage.write_chunk(table, "chunk-0.parquet", chunk)
    metadata = materialize(recipe, storage).asset_materializations_for_node("selected_pairs")[0].metadata
    assert isinstance(metadata["highest"], dg.TableMetadataValue)
    assert metadata["highest"].records[0].data["text"] == "<img src=x onerror=alert(1)> | a *b*"
    rendered = [value.value for value in metadata.values() if isinstance(value, dg.MarkdownMetadataValue)]
    assert rendered
    assert not any("onerror" in text for text in rendered)


def test_refuses_while_images_have_no_score(recipe: Recipe, storage: Storage) -> None:
    captions = captions_in_shards(12, SHARDS) | {"f" * 16: ("one more", "0001")}
    plan(storage, captions, attempts=3)
    with pytest.raises(IncompleteShardsError, match=r"3 of 39 planned images have no score \(shard 0001: 3 of 21\)"):
        complete_scores(recipe, storage)
    result = materialize(recipe, storage, raise_on_error=False)
    assert not result.success
    assert not storage.has_table(SELECTED)


def test_a_shard_without_captions_needs_no_scores(recipe: Recipe, storage: Storage) -> None:
    with_empty_shard = recipe.model_copy(update={"shards": 3})
    assert score_coverage(with_empty_shard, storage).lacking == 0
    assert materialize(with_empty_shard, storage).success
    assert storage.scan(SELECTED).collect().height == 5


def test_names_every_incomplete_shard(recipe: Recipe, storage: Storage) -> None:
    captions = {f"{number + 100:016x}": ("another", f"{number % 30:04d}") for number in range(60)}
    plan(storage, captions, attempts=1)
    with pytest.raises(
        IncompleteShardsError, match=r"60 of 60 planned .*0019: 2 of 2, and 10 shards more\). Materialize"
    ):
        complete_scores(recipe, storage)


def test_a_damaged_file_of_scores_is_a_clear_error(recipe: Recipe, storage: Storage) -> None:
    path = f"{scores_table(recipe, SHARDS[0])}/chunk-0.parquet"
    storage.write_bytes(path, storage.read_bytes(path)[:-30])
    with pytest.raises(StorageError, match=r"file of scores is damaged.*Materialize image_scores"):
        complete_scores(recipe, storage)


def test_a_count_above_the_pool_leaves_the_old_selection(recipe: Recipe, storage: Storage) -> None:
    materialize(recipe, storage)
    before = storage.version(SELECTED)
    greedy = recipe.model_copy(update={"selection": Selection(count=13)})
    with pytest.raises(SelectionError, match="count is 13, but only 12 captions"):
        materialize(greedy, storage)
    assert storage.version(SELECTED) == before


def test_pairs_whose_images_are_gone_or_broken_fail_the_check(recipe: Recipe, storage: Storage) -> None:
    materialize(recipe, storage)
    selected = storage.scan(SELECTED).collect()
    assert absent_images(recipe, storage, selected) == []
    assert unreadable_images(recipe, storage, selected) == {}
    [file] = storage.files(images_table(recipe, SHARDS[0]))
    name = file.rpartition("/")[2]
    rows = storage.scan_files([file]).collect()
    cut = [image | {"bytes": image["bytes"][:40]} for image in rows["image"]]
    broken = rows.with_columns(pl.Series("image", cut, dtype=rows.schema["image"]))
    storage.write_chunk(images_table(recipe, SHARDS[0]), name, broken)
    of_shard = selected.filter(pl.col("shard") == SHARDS[0])["image_id"].sort().to_list()
    assert of_shard
    assert sorted(unreadable_images(recipe, storage, selected)) == of_shard
    result = materialize(recipe, storage, raise_on_error=False)
    assert passed(result) == {
        "exactly_k_unique_pairs": True,
        "selected_images_open": False,
        "every_image_is_scored": True,
    }
    storage.delete(file)
    assert absent_images(recipe, storage, selected) == of_shard
    result = materialize(recipe, storage, raise_on_error=False)
    assert passed(result)["selected_images_open"] is False


def test_faults_of_a_selection() -> None:
    sound = pl.DataFrame({"image_id": ["a-00", "b-00"], "caption_id": ["a", "b"], "rank": [1, 2]})
    assert selection_faults(sound, 2) == []
    assert selection_faults(sound, 3) == ["2 pairs instead of 3"]
    twice = pl.concat([sound, sound.head(1)])
    assert selection_faults(twice, 3) == [
        "1 of the rows repeat image_id",
        "1 of the rows repeat caption_id",
        "the ranks are not 1 to 3, each once",
    ]


def test_a_share_of_missing_scores_that_the_recipe_allows_is_told(recipe: Recipe, storage: Storage) -> None:
    lost = f"{scores_table(recipe, SHARDS[1])}/chunk-0.parquet"
    rows = storage.scan(scores_table(recipe, SHARDS[1])).collect()
    storage.delete(lost)
    storage.write_chunk(scores_table(recipe, SHARDS[1]), "chunk-1.parquet", rows.head(rows.height - 3))
    too_strict = recipe.model_copy(update={"selection": Selection(count=5, allow_missing=0.08)})
    with pytest.raises(IncompleteShardsError, match=r"allow_missing allows 8\.00%, and these are 8\.33%\. Materialize"):
        complete_scores(too_strict, storage)

    allowing = recipe.model_copy(update={"selection": Selection(count=5, allow_missing=0.09)})
    coverage = score_coverage(allowing, storage)
    assert (coverage.awaited, coverage.lacking) == (36, 3)
    assert coverage.shards.rows() == [(SHARDS[1], 3, rows.height)]
    result = materialize(allowing, storage)
    assert passed(result) == {
        "exactly_k_unique_pairs": True,
        "selected_images_open": True,
        "every_image_is_scored": False,
    }
    [warning] = [one for one in result.get_asset_check_evaluations() if one.check_name == "every_image_is_scored"]
    assert warning.severity == dg.AssetCheckSeverity.WARN
    assert not warning.blocking
    assert warning.description == f"3 of 36 planned images have no score (shard {SHARDS[1]}: 3 of {rows.height})"
    metadata = result.asset_materializations_for_node("selected_pairs")[0].metadata
    assert metadata["images_without_score"].value == 3
    assert metadata["share_without_score"].value == pytest.approx(1 / 12, abs=1e-6)


def test_what_an_audit_sets_aside_is_counted_and_stored(recipe: Recipe, storage: Storage) -> None:
    assert "set_aside_by_disagreement" not in materialized_metadata(materialize(recipe, storage))
    assert storage.scan(SET_ASIDE).collect().is_empty()
    for shard in SHARDS:
        table = scores_table(recipe, shard)
        judged = storage.scan(table).with_columns(siglip_score=1 - pl.col("clip_score")).collect()
        storage.write_chunk(table, "chunk-0.parquet", judged)
    audit = {"disagreement": {"judge": "siglip_score", "share": 0.25}}
    audited = recipe.model_copy(
        update={"selection": Selection.model_validate({"strategy": "audited", "count": 5, "audit": audit})}
    )
    result = materialize(audited, storage)
    assert passed(result)["exactly_k_unique_pairs"]
    assert materialized_metadata(result)["set_aside_by_disagreement"].value == 9
    set_aside = storage.scan(SET_ASIDE).collect()
    assert set_aside.columns == list(SET_ASIDE_COLUMNS)
    assert set(set_aside["reason"]) == {"disagreement"}
    assert set_aside.height == 9
    assert not set(set_aside["image_id"]) & set(storage.scan(SELECTED).collect()["image_id"])


def materialized_metadata(result: dg.ExecuteInProcessResult) -> dict[str, dg.MetadataValue]:
    return dict(result.asset_materializations_for_node("selected_pairs")[0].metadata)
