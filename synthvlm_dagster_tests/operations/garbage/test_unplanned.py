"""Images of captions that left: found when the plan is that of the recipe, and deleted without the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner

from synthvlm_dagster.attempts.plan import read_plan
from synthvlm_dagster.attempts.state import planned_images
from synthvlm_dagster.captions.assets import caption_assets
from synthvlm_dagster.cli import main
from synthvlm_dagster.dataset.assets import selected_pairs
from synthvlm_dagster.dataset.checks import exactly_k_unique_pairs, selected_images_open
from synthvlm_dagster.images.assets import planned_attempts
from synthvlm_dagster.images.departures import departures
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.operations.garbage.find import find_garbage
from synthvlm_dagster.operations.garbage.references import find_references
from synthvlm_dagster.operations.garbage.unplanned import (
    MIXED,
    UNPLANNED,
    delete_unplanned,
    find_unplanned,
    why_plan_is_unknown,
)
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.recipe.active import RECIPE_VARIABLE
from synthvlm_dagster_tests.dataset.made_project import changed_recipe, make_project


def plan_and_select(recipe: Recipe) -> dg.ExecuteInProcessResult:
    dataset = Dataset(recipe)
    checks = [exactly_k_unique_pairs(dataset), selected_images_open(dataset)]
    assets = [*caption_assets(dataset), planned_attempts(dataset), selected_pairs(dataset), *checks]
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(assets, instance=instance)


def test_the_images_of_a_caption_that_left_can_be_deleted(tmp_path: Path) -> None:
    make_project(tmp_path)
    recipe = changed_recipe(tmp_path)
    storage = Dataset(recipe).storage
    assert why_plan_is_unknown(storage, [recipe]) is None
    assert find_unplanned(storage, storage.every_file(), [recipe]) == []

    captions = (tmp_path / "captions.txt").read_text().splitlines()
    (tmp_path / "captions.txt").write_text("\n".join(captions[1:]) + "\n")
    reason = why_plan_is_unknown(storage, [recipe])
    assert reason == "shapes: raw_captions: sources.given (captions.txt) has changed"

    result = plan_and_select(recipe)
    [planned] = result.asset_materializations_for_node("planned_attempts")
    assert planned.metadata["captions_left_since_the_last_plan"].value == 1
    assert why_plan_is_unknown(storage, [recipe]) is None
    found = find_unplanned(storage, storage.every_file(), [recipe])
    assert {thing.reason for thing in found} == {MIXED}
    assert {thing.path.split("/")[0] for thing in found} == {"images", "scores", "embeddings"}
    assert find_garbage(storage.every_file(), find_references(storage, [recipe])) == []

    assert len([*delete_unplanned(storage, found, [recipe])]) == len(found) == 3
    assert find_unplanned(storage, storage.every_file(), [recipe]) == []
    left = pl.concat(
        [storage.scan(f"{kind}/{generator_name(recipe)}").select("image_id") for kind in ("images", "scores")]
    ).collect()
    plan = read_plan(recipe, storage)
    assert set(left["image_id"]) == set(plan["image_id"])
    assert planned_images(recipe, storage).missing.is_empty()


def test_files_of_images_that_nobody_plans_go_whole(tmp_path: Path) -> None:
    make_project(tmp_path)
    recipe = changed_recipe(tmp_path, attempts__max_captions=1, selection={"count": 1})
    storage = Dataset(recipe).storage
    assert plan_and_select(recipe).success
    found = find_unplanned(storage, storage.every_file(), [recipe])
    assert {thing.reason for thing in found} == {MIXED, UNPLANNED}
    assert [*delete_unplanned(storage, found, [recipe])] == found
    assert storage.scan(f"images/{generator_name(recipe)}").select(pl.len()).collect().item() == 2
    assert find_unplanned(storage, storage.every_file(), [recipe]) == []


def test_departures_are_counted_by_their_reason(tmp_path: Path) -> None:
    make_project(tmp_path)
    recipe = changed_recipe(tmp_path)
    storage = Dataset(recipe).storage
    plan = read_plan(recipe, storage)
    assert str(departures(recipe, storage, plan)) == ""
    fewer = plan.filter(pl.col("caption_id") != plan["caption_id"][0])
    assert str(departures(recipe, storage, fewer)) == (
        "1 caption of the plan left: beyond attempts.max_captions; 2 images of theirs can be deleted by `synthvlm gc`"
    )
    curated = storage.scan("captions/curated").collect()
    storage.write_table("captions/curated", curated.filter(pl.col("caption_id") != plan["caption_id"][0]))
    assert departures(recipe, storage, fewer)[:3] == (0, 1, 0)
    raw = storage.scan("captions/raw").collect()
    storage.write_table("captions/raw", raw.filter(pl.col("caption_id") != plan["caption_id"][0]))
    assert str(departures(recipe, storage, fewer)).startswith(
        "1 caption of the plan left: no longer in their source; 2 im"
    )


def test_scores_of_a_forgotten_scorer_are_listed_once_and_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path)
    recipe = changed_recipe(tmp_path, attempts__per_caption=1)
    [scorer] = (tmp_path / "store" / "scores" / generator_name(recipe)).iterdir()
    shutil.copytree(scorer, scorer.with_name("forgotten-0123456789"))
    assert plan_and_select(recipe).success
    (tmp_path / "recipe.yaml").write_text(recipe.model_dump_json(exclude_unset=True))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv(RECIPE_VARIABLE, "demo")
    command = ["gc", "-r", str(tmp_path / "recipe.yaml"), "--older-than", "0h", "--yes"]
    deleted = CliRunner().invoke(main, command)
    assert deleted.exit_code == 0, deleted.output
    listed = [line.split()[1] for line in deleted.output.splitlines() if line.startswith("deleted ")]
    assert [line for line in listed if "forgotten" in line] == [f"scores/{generator_name(recipe)}/forgotten-0123456789"]
    assert MIXED in deleted.output
    assert len(listed) == len(set(listed)) > 3
    assert "nothing to delete" in CliRunner().invoke(main, command).output


def test_what_is_gone_already_is_passed_over(tmp_path: Path) -> None:
    make_project(tmp_path)
    recipe = changed_recipe(tmp_path, attempts__per_caption=1)
    assert plan_and_select(recipe).success
    storage = Dataset(recipe).storage
    found = find_unplanned(storage, storage.every_file(), [recipe])
    storage.delete(found[0].path)
    assert [*delete_unplanned(storage, found, [recipe])] == found[1:]
    assert found[1:]
