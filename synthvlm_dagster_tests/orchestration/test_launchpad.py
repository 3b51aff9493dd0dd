"""Settings given in the launchpad, in real Dagster runs: what they change, who tells of them, and when they end."""

from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from synthvlm_dagster.attempts.plan import read_plan
from synthvlm_dagster.captions.assets import curate
from synthvlm_dagster.captions.tables import CURATED
from synthvlm_dagster.dataset.assets import dataset_card, quality_report, selected_pairs
from synthvlm_dagster.dataset.checks import exactly_k_unique_pairs, selected_images_open
from synthvlm_dagster.dataset.exports.card import CARD
from synthvlm_dagster.dataset.made_from import why_outdated
from synthvlm_dagster.dataset.report.page import PAGE
from synthvlm_dagster.images.assets import planned_attempts
from synthvlm_dagster.images.plan import PLAN_TABLE
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster_tests.dataset.conftest import fill, good_captions

ASSETS = (curate, planned_attempts, selected_pairs, dataset_card, quality_report)


class Project:
    """Twelve captions with two scored images each, of which the recipe keeps half."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **changed: Any) -> None:
        settings = {
            "name": "shapes",
            "storage": str(folder / "store"),
            "sources": [{"name": "given", "path": str(folder / "captions.txt")}],
            "shards": 3,
            "attempts": {"per_caption": 2},
            "generation": {"model": "maker/circles", "image_format": "png", "width": 64, "height": 64},
            "scoring": {"clip": {"model": "hf-hub:maker/judge", "pretrained": None}},
            "selection": {"share": 0.5},
        }
        self.recipe = Recipe.model_validate(settings | changed)
        self.dataset = Dataset(self.recipe)
        self.storage = self.dataset.storage
        self.instance = instance
        fill(self.recipe, self.storage, good_captions(12))

    def with_attempts(self, **attempts: Any) -> "Project":
        """The same store under a recipe with other attempts."""
        other = copy(self)
        other.recipe = self.recipe.model_copy(update={"attempts": Attempts(**attempts)})
        other.dataset = Dataset(other.recipe)
        return other

    def run(self, asset: Callable[[Dataset], dg.AssetsDefinition], **config: Any) -> dg.ExecuteInProcessResult:
        made = asset(self.dataset)
        return dg.materialize(
            [part(self.dataset) for part in (*ASSETS, exactly_k_unique_pairs, selected_images_open)],
            selection=dg.AssetSelection.assets(*made.keys),
            instance=self.instance,
            run_config={"ops": {made.op.name: {"config": config}}} if config else None,
            raise_on_error=False,
        )

    def rows(self, table: str) -> int:
        return self.storage.scan(table).collect().height


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Project(tmp_path, instance)


def told(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, tuple[str, str]] | None:
    """Value and recipe's value of each setting in the asset's metadata."""
    [event] = [event for event in result.get_asset_materialization_events() if event.asset_key.path == [asset]]
    table = event.materialization.metadata.get("set_for_this_run")
    if table is None:
        return None
    return {row["setting"]: (row["this run"], row["recipe"]) for row in (record.data for record in table.records)}


def cause(result: dg.ExecuteInProcessResult) -> str:
    error = result.get_step_failure_events()[0].step_failure_data.error
    while error.cause:
        error = error.cause
    return f"{error.cls_name}: {error.message}"


def test_a_selection_for_one_run_is_told_until_the_recipe_holds_again(project: Project) -> None:
    chosen = project.run(selected_pairs, count=3, strategy="clip-only")
    assert chosen.success
    assert project.rows("dataset/selected") == 3
    assert told(chosen, "selected_pairs") == {
        "selection.strategy": ("clip-only", "paper"),
        "selection.count": ("3", "null"),
        "selection.share": ("null", "0.5"),
    }
    checks = chosen.get_asset_check_evaluations()
    assert len(checks) == 2
    assert all(check.passed for check in checks), "the check expects what the run was told, not what the recipe says"

    assert project.run(dataset_card).success
    assert project.run(quality_report).success
    card, page = (project.storage.read_bytes(path).decode() for path in (CARD, PAGE))
    for text in (card, page):
        assert "3 pairs" in text
        assert "clip-only" in text
        assert "selection.count 3" in text

    reason = why_outdated("selected_pairs", project.recipe, project.storage)
    assert reason is not None
    assert "selection.count 3 (recipe: null)" in reason
    assert "now as the recipe says" in reason

    restored = project.run(selected_pairs)
    assert told(restored, "selected_pairs") is None
    assert project.rows("dataset/selected") == 6
    assert why_outdated("selected_pairs", project.recipe, project.storage) is None
    assert project.run(quality_report).success
    assert "selection.count" not in project.storage.read_bytes(PAGE).decode()


def test_attempts_and_thresholds_for_one_run(project: Project) -> None:
    planned = project.run(planned_attempts, per_caption=3, max_captions=5)
    assert planned.success
    assert project.rows(PLAN_TABLE) == 15
    assert told(planned, "planned_attempts") == {
        "attempts.per_caption": ("3", "2"),
        "attempts.max_captions": ("5", "null"),
    }
    assert project.run(planned_attempts).success
    assert project.rows(PLAN_TABLE) == 24

    kept = project.rows(CURATED)
    strict = project.run(curate, text_length={"max": 61}, rules_off=["duplicates"])
    assert strict.success, cause(strict)
    assert 0 < project.rows(CURATED) < kept
    for asset in ("curated_captions", "rejected_captions"):
        settings = told(strict, asset)
        assert settings is not None
        assert set(settings) == {"curation.rules.text_length", "curation.rules.duplicates"}
    assert project.run(curate).success
    assert project.rows(CURATED) == kept


def test_one_bound_of_a_rule_leaves_the_other(project: Project) -> None:
    result = project.run(curate, alnum_ratio={"max": 0.99}, special_char_ratio={"min": None})
    assert told(result, "curated_captions") == {
        "curation.rules.alnum_ratio.max": ("0.99", "null"),
        "curation.rules.special_char_ratio.min": ("null", "0.16534802"),
    }


def test_what_the_recipe_says_anyway_is_no_setting(project: Project) -> None:
    result = project.run(selected_pairs, share=0.5, strategy="paper")
    assert told(result, "selected_pairs") is None


def test_an_adaptive_plan_goes_as_far_as_its_run_was_told(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        # Three images of each caption are there and measured; none reaches the bar.
        scored = Project(tmp_path, instance, attempts={"per_caption": 3})
        project = scored.with_attempts(min=1, max=2, until=9.0)
        for settings, images in (({}, 2), ({"max": 3}, 3), ({}, 2)):
            assert project.run(planned_attempts, **settings).success
            assert read_plan(project.recipe, project.storage).height == images * 12


@pytest.mark.parametrize(
    ("asset", "config", "message"),
    [
        (selected_pairs, {"count": -2}, "RecipeError: the run's config: selection.count: Input should be greater"),
        (selected_pairs, {"count": 2, "share": 0.1}, "give exactly one of count"),
        (selected_pairs, {"ssim_weight": -1.0}, "selection.ssim_weight: Input should be greater than or equal to 0"),
        (selected_pairs, {"strategy": "audited"}, "the strategy audited needs audit"),
        (planned_attempts, {"per_caption": 0}, "attempts.per_caption: Input should be greater than or equal to 1"),
        (planned_attempts, {"until": 0.8, "max": 3}, "RecipeError: attempts.until: whether scores decide"),
        (planned_attempts, {"budget": 2.0}, "budget: nothing without until"),
        (curate, {"alnum_ratio": {"min": 0.9, "max": 0.1}}, "curation.rules.alnum_ratio: min 0.9 is above max 0.1"),
        (curate, {"perplexity": {"max": 100}}, "curation.rules.perplexity: is off in the recipe"),
        (curate, {"rules_off": ["alnum"]}, "rules_off: there is no rule alnum"),
    ],
)
def test_a_mistake_names_its_field_and_makes_nothing(
    project: Project, asset: Callable[[Dataset], dg.AssetsDefinition], config: dict[str, Any], message: str
) -> None:
    before = {path: project.storage.read_bytes(path) for path in project.storage.files("")}
    result = project.run(asset, **config)
    assert not result.success
    assert message in cause(result)
    assert {path: project.storage.read_bytes(path) for path in project.storage.files("")} == before


@pytest.mark.parametrize("config", [{"cuont": 3}, {"strategy": "best"}, {"count": "three"}])
def test_dagster_refuses_what_the_launchpad_underlines(project: Project, config: dict[str, Any]) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError):
        project.run(selected_pairs, **config)


def test_every_field_of_the_launchpad_is_described_and_may_be_left_out(project: Project) -> None:
    for asset in ASSETS[:3]:
        fields = dict(asset(project.dataset).op.config_schema.config_type.fields)
        assert fields
        for name, field in fields.items():
            assert len(field.description) > 20, name
            assert not field.is_required, name
