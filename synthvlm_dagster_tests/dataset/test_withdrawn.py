"""Exports that are switched off leave the store, and nothing else does."""

from synthvlm_dagster.dataset.exports.llava import write_llava
from synthvlm_dagster.dataset.exports.webdataset import write_webdataset
from synthvlm_dagster.dataset.withdrawn import delete_withdrawn, withdrawn
from synthvlm_dagster.recipe import Recipe


def changed(recipe: Recipe, **exports: None) -> Recipe:
    return recipe.model_copy(update={"exports": recipe.exports.model_copy(update=exports)})


def test_what_is_switched_off_is_named_and_deleted_and_the_rest_stays(make_project):
    project = make_project()
    recipe, storage = project.recipe, project.storage
    write_llava(recipe, storage)
    write_webdataset(recipe, storage)
    assert withdrawn(recipe, storage) == []
    without = changed(recipe, llava=None)
    before = {path for path in storage.files("") if not path.startswith("dataset/llava/")}
    assert withdrawn(without, storage) == ["dataset/llava"]
    told: list[str] = []
    delete_withdrawn(without, storage, told.append)
    assert told == [f"{storage.url('dataset/llava')} is deleted: the recipe does without it"]
    assert set(storage.files("")) == before
    assert withdrawn(without, storage) == []
    delete_withdrawn(without, storage, told.append)
    assert len(told) == 1


def test_comparisons_that_are_gone_leave_no_summary(make_project):
    project = make_project()
    project.storage.write_table("dataset/references", project.selected)
    assert withdrawn(project.recipe, project.storage) == ["dataset/references"]
    comparison = {"name": "other", "path": "other.jsonl"}
    compared = Recipe.model_validate({**project.recipe.model_dump(exclude_unset=True), "comparisons": [comparison]})
    assert withdrawn(compared, project.storage) == []
