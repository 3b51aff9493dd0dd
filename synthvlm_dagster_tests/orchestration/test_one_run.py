"""Settings of one run: what they make of the recipe, and that the table remembers them."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_dagster.errors import RecipeError, StorageError
from synthvlm_dagster.orchestration.one_run import Change, changes, note, recipe_of_table, with_settings
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.made_from import MadeFrom
from synthvlm_dagster.store.storage import WHOLE_TABLE, Storage

RECIPE = Recipe.model_validate(
    {
        "name": "one",
        "sources": [{"name": "mine", "path": "captions.csv", "columns": {"text": "title"}}],
        "generation": {"model": "none"},
        "selection": {"count": 5},
    }
)
ROWS = pl.DataFrame({"image_id": ["a"]})

selections = st.fixed_dictionaries(
    {},
    optional={
        "strategy": st.sampled_from(["paper", "zscore", "clip-only", "random"]),
        "ssim_weight": st.floats(0, 10),
        "count": st.integers(1, 100),
    },
)
bounds = st.fixed_dictionaries({}, optional={"min": st.floats(0, 0.05), "max": st.floats(0.05, 1)})
letters = st.none() | st.builds(lambda least: {"min": least}, st.floats(0, 1))
curations = st.fixed_dictionaries(
    {}, optional={"alnum_ratio": letters, "char_rep_ratio": bounds, "duplicates": st.none()}
)


@pytest.fixture(params=["disk", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(f"memory://{tmp_path.name}" if request.param == "memory" else str(tmp_path))


def write_made_for_one_run(storage: Storage, recipe: Recipe, section: str, chosen: dict[str, object]) -> None:
    changed = with_settings(recipe, section, chosen)
    storage.write_table("t", ROWS, MadeFrom(code=1, one_run=note(recipe, changed, section)))


@settings(deadline=None)
@given(chosen=selections)
def test_a_table_remembers_its_selection(tmp_path_factory: pytest.TempPathFactory, chosen: dict[str, object]) -> None:
    storage = Storage(str(tmp_path_factory.getbasetemp() / "selections"))
    changed = with_settings(RECIPE, "selection", chosen)
    for name, value in chosen.items():
        assert getattr(changed.selection, name) == value
    storage.write_table("t", ROWS, MadeFrom(code=1, one_run=note(RECIPE, changed, "selection")))
    assert recipe_of_table(RECIPE, storage, "t") == changed
    assert bool(changes(RECIPE, changed)) == (changed != RECIPE)


@settings(deadline=None)
@given(rules=curations)
def test_a_table_remembers_its_rules(tmp_path_factory: pytest.TempPathFactory, rules: dict[str, object]) -> None:
    storage = Storage(str(tmp_path_factory.getbasetemp() / "rules"))
    changed = with_settings(RECIPE, "curation", {"rules": rules})
    with storage.table_writer("t", ROWS.schema, MadeFrom(code=1, one_run=note(RECIPE, changed, "curation"))) as write:
        write(ROWS)
    assert recipe_of_table(RECIPE, storage, "t") == changed


def test_changes_are_told_with_what_the_recipe_says() -> None:
    changed = with_settings(RECIPE, "selection", {"count": None, "share": 0.5})
    changed = with_settings(changed, "curation", {"rules": {"alnum_ratio": {"min": 0.25}, "duplicates": None}})
    told = [str(change) for change in changes(RECIPE, changed)]
    assert told[0] == "curation.rules.alnum_ratio.min 0.25 (recipe: 0.6)"
    assert told[1].startswith("curation.rules.duplicates null (recipe: {")
    assert told[2:] == ["selection.count null (recipe: 5)", "selection.share 0.5 (recipe: null)"]
    assert Change("selection.count", 3, 5).row == {"setting": "selection.count", "this run": "3", "recipe": "5"}


@pytest.mark.parametrize(
    ("section", "given_settings", "message"),
    [
        ("selection", {"count": 0}, r"selection\.count: Input should be greater than 0"),
        ("selection", {"share": 0.5}, "selection: give exactly one of count"),
        ("selection", {"strategy": "audited"}, "selection: the strategy audited needs audit"),
        ("attempts", {"per_caption": 100}, r"attempts\.per_caption: Input should be less than or equal to 99"),
        ("curation", {"rules": {"alnum_ratio": {"min": 7.0}}}, r"curation\.rules\.alnum_ratio\.min: Input should be"),
    ],
)
def test_a_mistake_is_named(section: str, given_settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        with_settings(RECIPE, section, given_settings)


def test_a_table_without_settings_was_made_as_the_recipe_says(storage: Storage) -> None:
    assert recipe_of_table(RECIPE, storage, "t") == RECIPE
    write_made_for_one_run(storage, RECIPE, "selection", {"count": 3})
    assert recipe_of_table(RECIPE, storage, "t").selection.count == 3
    write_made_for_one_run(storage, RECIPE, "selection", {"count": 5})
    assert recipe_of_table(RECIPE, storage, "t") == RECIPE
    assert storage.scan("t").collect().equals(ROWS)


def test_settings_that_a_later_recipe_has_no_place_for_are_left_out(storage: Storage) -> None:
    adaptive = with_settings(RECIPE, "attempts", {"max": 4, "until": 0.8})
    write_made_for_one_run(storage, adaptive, "attempts", {"max": 6})
    assert recipe_of_table(adaptive, storage, "t").attempts.max == 6
    assert recipe_of_table(RECIPE, storage, "t") == RECIPE


def test_a_damaged_table_is_a_clear_error(storage: Storage) -> None:
    storage.write_bytes(f"t/{WHOLE_TABLE}", b"no parquet")
    with pytest.raises(StorageError, match=f"t/{WHOLE_TABLE}: is damaged"):
        storage.notes("t")
