"""The demo's raw captions hold what their manifest says, and curation catches what its rules can catch."""

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import polars as pl
import pytest

from synthvlm_dagster.captions.curate import curate_captions
from synthvlm_dagster.captions.duplicates import normalized
from synthvlm_dagster.captions.readers import read_captions
from synthvlm_dagster.demo import caption_faults, world
from synthvlm_dagster.demo.raw_captions import (
    BAD_ROW,
    CAPTIONS_FOLDER,
    COPY_FAULTS,
    FAULTS,
    FILES,
    GOOD,
    MANIFEST,
    N_BAD_ROWS,
    WRITTEN_FAULTS,
    planted_faults,
    write_raw_captions,
)
from synthvlm_dagster.recipe import CaptionSource, Curation, CurationRules

FORMATS = ("llava", "tsv", "parquet")
ALWAYS_CAUGHT = (
    BAD_ROW,
    "too short",
    "repeated phrase",
    "flagged word",
    "exact duplicate",
    "near duplicate, other form",
)


@pytest.fixture(scope="module")
def raw() -> pl.DataFrame:
    """The shipped captions as the pipeline reads them, with the planted fault beside each (null: a good caption)."""
    sources = [
        CaptionSource(name=f"world-{layout}", path=str(CAPTIONS_FOLDER / file), format=layout)
        for file, layout in zip(FILES, FORMATS, strict=True)
    ]
    return pl.concat(read_captions(sources))


@pytest.fixture(scope="module")
def labelled(raw) -> pl.DataFrame:
    rows = raw.join(planted_faults(), on=["source_file", "source_row"], how="left", maintain_order="left")
    assert rows.height == raw.height
    return rows


def test_the_shipped_files_are_what_the_program_writes(tmp_path):
    command = [sys.executable, "-m", "synthvlm_dagster.demo.raw_captions", "--output", str(tmp_path / "one")]
    subprocess.run(command, check=True)
    write_raw_captions(tmp_path / "two")
    for name in (*FILES, MANIFEST):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    for name in (MANIFEST, "world_llava.json", "world.tsv"):
        assert (tmp_path / "one" / name).read_bytes() == (CAPTIONS_FOLDER / name).read_bytes()
    # Another version of polars may write the same table in other bytes.
    shipped, written = (pl.read_parquet(folder / "world.parquet") for folder in (CAPTIONS_FOLDER, tmp_path / "one"))
    assert shipped.equals(written)


def test_every_fault_is_planted_in_its_number(labelled):
    expected = {fault: count for fault, (count, _) in (WRITTEN_FAULTS | COPY_FAULTS).items()} | {BAD_ROW: N_BAD_ROWS}
    found = Counter(labelled["fault"].drop_nulls())
    assert found == expected
    assert labelled["fault"].null_count() == sum(GOOD.values())
    manifest = json.loads((CAPTIONS_FOLDER / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["rows"] == Counter(labelled["source_file"])
    for fault in FAULTS:
        in_file = Counter(labelled.filter(pl.col("fault") == fault)["source_file"])
        assert {name: in_file[name] for name in FILES} == manifest["faults"][fault]


def test_good_captions_are_distinct_sentences_of_the_world(labelled):
    good = labelled.filter(pl.col("fault").is_null())["text"]
    scenes = [world.parse_caption(text) for text in good]
    assert None not in scenes
    assert normalized(good).n_unique() == len(good)
    kinds = Counter((len(scene.objects), world.is_held_out(scene)) for scene in scenes)
    assert [kinds[1, True], kinds[1, False], kinds[2, True]] == list(GOOD.values())


def test_faulty_captions_that_are_no_copies_are_not_sentences_of_the_world(labelled):
    written = labelled.filter(pl.col("fault").is_in(list(WRITTEN_FAULTS)))["text"]
    assert [text for text in written if world.parse_caption(text)] == []


def test_bad_rows_are_those_without_a_caption(labelled):
    without = labelled.filter(pl.col("text").is_null())
    assert without["fault"].unique().to_list() == [BAD_ROW]
    assert without.height == N_BAD_ROWS
    assert without["problem"].null_count() == 0


def test_copies_stand_behind_their_originals(labelled):
    places = labelled.with_row_index("place").select("source_file", "source_row", "place", "text")
    copies = labelled.with_row_index("place").filter(pl.col("original_row").is_not_null())
    both = copies.join(
        places, left_on=["original_file", "original_row"], right_on=["source_file", "source_row"], suffix="_original"
    )
    assert both.height == sum(count for count, _ in COPY_FAULTS.values())
    assert (both["place_original"] < both["place"]).all()
    folded = both.with_columns(normalized(both["text"]), original=normalized(both["text_original"]))
    is_same = {fault: set(part["text"] == part["text_original"]) for (fault,), part in both.group_by("fault")}
    is_same_folded = {fault: set(part["normalized"] == part["original"]) for (fault,), part in folded.group_by("fault")}
    assert is_same == {
        "exact duplicate": {True},
        "near duplicate, other form": {False},
        "near duplicate, other word": {False},
    }
    assert is_same_folded == {
        "exact duplicate": {True},
        "near duplicate, other form": {True},
        "near duplicate, other word": {False},
    }
    assert set(both["source_file"] == both["original_file"]) == {True, False}


def test_curation_keeps_every_good_caption_and_catches_what_its_rules_name(raw):
    curation = Curation(rules=CurationRules(num_words={"min": 5}))
    _, rejected = curate_captions(raw, curation, ["0000"])
    caught = rejected.join(planted_faults(), on=["source_file", "source_row"], how="left")
    assert caught["fault"].null_count() == 0
    numbers = Counter(caught["fault"])
    planted = Counter(planted_faults()["fault"])
    assert {fault: numbers[fault] for fault in ALWAYS_CAUGHT} == {fault: planted[fault] for fault in ALWAYS_CAUGHT}
    assert all(numbers[fault] > 0 for fault in ("gibberish", "markup", "advertisement"))
    assert set(curation.rules.model_dump(exclude_none=True)) <= set(caught["rejected_by"])


@pytest.mark.parametrize("change", [caption_faults.changed_form, caption_faults.changed_word])
def test_near_duplicates_always_differ_from_their_originals(change):
    rng = np.random.default_rng(0)
    for _ in range(200):
        caption = world.write_caption(world.sample_scene(rng), rng)
        assert change(caption, rng) != caption
