"""What the terminal says of a project whose recipe has moved on."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.operations.overview import print_plan, print_results
from synthvlm_dagster.operations.preflight import check_recipe
from synthvlm_dagster.operations.run import Pipeline
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.store.paths import FORMAT_FILE
from synthvlm_dagster_tests.dataset.made_project import changed_recipe, make_project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_project(folder)
    return folder


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def printed(show: Any, folder: Path, instance: dg.DagsterInstance, **changed: Any) -> str:
    recipe = changed_recipe(folder, **changed)
    pipeline = Pipeline(build_definitions(recipe).get_repository_def(), instance, Dataset(recipe))
    console = Console(file=io.StringIO(), width=200)
    show(pipeline, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def states(plan: str) -> dict[str, str]:
    """What the plan says of each asset."""
    rows = [line.split(maxsplit=1) for line in plan.splitlines() if line.startswith("  ") and "_" in line]
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def test_of_a_finished_project_everything_is_up_to_date(made: Path, instance: dg.DagsterInstance) -> None:
    assert set(states(printed(print_plan, made, instance)).values()) == {"up to date"}
    results = printed(print_results, made, instance)
    assert "Pairs selected" in results
    assert "earlier" not in results


def test_images_to_make_are_images_to_measure(made: Path, instance: dg.DagsterInstance) -> None:
    plan = states(printed(print_plan, made, instance, seed=9))
    assert plan["generated_images"] == plan["image_scores"] == "to make: 2 shards (0000, 0001)"
    assert plan["planned_attempts"] == "up to date"
    assert plan["selected_pairs"].startswith("to make: the generator is generator-")


def test_figures_of_an_earlier_dataset_are_called_so(made: Path, instance: dg.DagsterInstance) -> None:
    results = " ".join(printed(print_results, made, instance, seed=9).split())
    assert "The dataset that stands is an earlier one: the generator is generator-" in results
    assert "It has 6 pairs, with the means clip_score 0." in results
    assert "dataset/llava (earlier)" in results
    assert "Pairs selected" not in results


def test_so_are_those_of_captions_that_are_others_now(made: Path, instance: dg.DagsterInstance) -> None:
    results = " ".join(printed(print_results, made, instance, attempts__per_caption=3).split())
    assert "The dataset that stands is an earlier one: planned_attempts: attempts.per_caption is 3, was" in results
    results = " ".join(printed(print_results, made, instance, curation__rules__num_words={"min": 7}).split())
    assert "The dataset that stands is an earlier one: curated_captions: curation.rules.num_words" in results
    assert "Captions kept" not in results


def test_what_goes_back_to_something_to_be_made_is_not_called_up_to_date(
    made: Path, instance: dg.DagsterInstance
) -> None:
    printout = printed(print_plan, made, instance, curation__rules__num_words={"min": 7})
    plan = states(printout)
    assert plan["curated_captions"].startswith("to make: curation.rules.num_words")
    below = ("planned_attempts", "generated_images", "image_scores", "selected_pairs", "llava_dataset")
    assert {plan[name] for name in below} == {"may change: curated_captions is made first"}
    assert plan["raw_captions"] == "up to date"
    assert "as it stands; curated_captions is made first and may change that" in printout


def test_check_says_that_a_store_is_of_another_version(made: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / FORMAT_FILE).write_text('{"format": 99}')
    [storage, *_] = check_recipe(changed_recipe(made, storage=str(tmp_path / "store")))
    assert (storage.subject, storage.state) == ("storage", "error")
    assert "is laid out in format 99" in storage.message
