"""What Dagster keeps of a materialization is small, whatever the captions are."""

from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._serdes import serialize_value

from synthvlm_dagster.captions.assets import curate
from synthvlm_dagster.dataset.assets import dataset_assets
from synthvlm_dagster.images.assets import planned_attempts
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.orchestration.metadata import MAX_MARKDOWN_BYTES, markdown
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster_tests.dataset.conftest import fill, good_captions

MOST_BYTES = 64 * 1024


@pytest.mark.parametrize("line", ["| ü | 1 |\n", "ü"])
def test_a_long_page_loses_its_last_lines(line: str) -> None:
    text = line * 20_000
    page = markdown(text).value
    assert len(page.encode()) < MAX_MARKDOWN_BYTES + 100
    shown, _, rest = page.rpartition("\n\n… ")
    assert text.startswith(shown)
    assert rest == f"{len(text) - len(shown):,} characters more are not shown."
    assert markdown(line * 3).value == line * 3


def test_events_stay_small_with_the_longest_captions(tmp_path: Path) -> None:
    markup = "<b>|*_`[x](http://example.org)`_*|</b> "
    long = [f"{caption}, {number} {'and another thing, ' * 300}" for number, caption in enumerate(good_captions(60))]
    hostile = [f"{markup * 60} {number}" for number in range(60)]
    rules = {"char_rep_ratio": None, "word_rep_ratio": None, "flagged_words_ratio": None}
    recipe = Recipe.model_validate(
        {
            "name": "long",
            "storage": str(tmp_path / "store"),
            "sources": [{"name": "given", "path": str(tmp_path / "captions.txt")}],
            "shards": 2,
            "curation": {"rules": rules},
            "generation": {"model": "maker/circles", "image_format": "png", "width": 64, "height": 64},
            "scoring": {"clip": {"model": "hf-hub:maker/judge", "pretrained": None}},
            "selection": {"share": 0.5},
        }
    )
    dataset = Dataset(recipe)
    storage = dataset.storage
    fill(recipe, storage, [*long, *hostile])
    assert storage.scan("dataset/selected").collect()["text"].str.len_chars().max() > 5000
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [curate(dataset), planned_attempts(dataset), *dataset_assets(dataset)],
            instance=instance,
            run_config={"ops": {"curate": {"config": {"text_length": {"max": 100_000}, "rules_off": ["judge"]}}}},
        )
        sizes = {
            event.asset_key.to_user_string(): len(serialize_value(event))
            for event in result.get_asset_materialization_events()
        }
    assert len(sizes) == 9
    assert max(sizes.values()) < MOST_BYTES, sizes
    assert pl.Series(list(sizes.values())).min() > 1000
