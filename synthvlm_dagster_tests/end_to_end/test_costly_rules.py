"""Every rule of the paper through `synthvlm run`, with small real models; and what kill -9 costs of it."""

import io
import json
from collections import Counter
from itertools import islice
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from PIL import Image
from polars.testing import assert_frame_equal

from synthvlm_dagster.captions.curate import UNREADABLE_ROW
from synthvlm_dagster.captions.rules import COSTLY_RULES
from synthvlm_dagster.demo import world
from synthvlm_dagster.recipe import CurationRules
from synthvlm_dagster_tests.captions.measures.endpoint import QUESTION, endpoint, says
from synthvlm_dagster_tests.captions.measures.language import sentences, train_kenlm
from synthvlm_dagster_tests.captions.measures.small_blip import SCENES, save_small_blip
from synthvlm_dagster_tests.end_to_end.curation_project import (
    captions_of,
    change_recipe,
    curate,
    curate_here,
    curate_until,
    curation_project,
    instance_of,
    is_being_written,
    measured_values,
    measurement_files,
    measurements,
    metadata_of,
    undisturbed,
    unfinished_files,
    versions,
)
from synthvlm_dagster_tests.end_to_end.image_server import image_server

pytest.importorskip("kenlm")
pytest.importorskip("openai")

SHAPES_CLIP = {"model": "package://synthvlm_dagster.demo/models/shapes-clip", "pretrained": None}
RULES_ON_TEXT = [name for name in CurationRules.model_fields if name.endswith("_ratio")]

PRICES = {"price_per_million_input_tokens": 3, "price_per_million_output_tokens": 15}
DOLLARS_A_QUESTION = (7 * 3 + 2 * 15) / 1e6
"""At those prices, for the tokens that `says` tells."""

RED, GREEN, BLUE = (world.phrasings(scene) for scene in SCENES)
# (image, caption) → the rule that rejects it
SHOWN = {
    ("red.png", RED[0]): None,
    ("green.png", GREEN[0]): None,
    ("blue.png", BLUE[0]): None,
    ("green.png", BLUE[1]): "image_text_matching",
    ("blue.png", "A small purple cross above a large yellow square on a striped background."): "image_text_similarity",
}
# (caption, similarity, watermark, unsafe, image) → the rule
CARRIED = {
    ("A small green circle above a large red cross on a plain grey background.", 0.95, 0.1, 0.1, None): None,
    (RED[4], 0.5, 0.1, 0.1, "red.png"): "keep_top",
    ("There is a large orange square on a checkered background.", 0.35, 0.1, None, None): "keep_top",
    ("There is a small blue circle on a checkered background.", 0.3, None, 0.1, None): "keep_top",
    ("There is a small red circle on a checkered background.", 0.1, 0.1, 0.1, None): "image_text_similarity",
    ("There is a small blue square on a checkered background.", 0.9, 0.9, 0.1, None): "watermark_score",
    ("There is a small red square on a checkered background.", 0.9, 0.1, 0.9, None): "nsfw_score",
    (None, 0.9, 0.1, 0.1, "red.png"): UNREADABLE_ROW,
}
CROSS = "A small green cross to the left of a large orange square on a dotted background."
BARE = {
    CROSS: None,
    "On a striped background we see a large blue triangle.": None,
    CROSS.upper(): "duplicates",
    CROSS.replace("a large", "the large").replace("on a dotted", "on dotted"): "duplicates",
    "There is a small purple triangle on a dotted background.": "judge",
    "A brown dog runs along a quiet beach at sunset.": "perplexity",
    "Ein großer roter Kreis steht links neben einem kleinen blauen Quadrat.": "language",
    "A red cross.": "text_length",
    " ".join(f"word{number}" for number in range(41)): "num_words",
    "?!? a ;-) b ?!? c ;-) d ?!?": "alnum_ratio",
    "Call 555 0134 7788 or 555 0199 4421 today 24 7": "special_char_ratio",
    "A brown dog runs along a fucking beach at sunset.": "flagged_words_ratio",
    " ".join(["an old lighthouse stands on the cliff above grey water today"] * 2): "word_rep_ratio",
    "buy cheap shoes now buy cheap shoes now buy cheap shoes now": "char_rep_ratio",
}
EXPECTED = {
    **{text: rule for (_, text), rule in SHOWN.items()},
    **{text: rule for (text, *_), rule in CARRIED.items()},
    **BARE,
}


@pytest.fixture(scope="module")
def every_rule(tmp_path_factory):
    """A project with every rule on, curated once, and its judge, who says no to purple."""
    folder = tmp_path_factory.mktemp("every_rule")
    models = train_kenlm(folder)
    blip = save_small_blip(folder / "blip")
    chance = np.random.default_rng(0)
    for name, scene in zip(("red", "green", "blue"), SCENES, strict=True):
        Image.fromarray(world.render(scene, chance)).save(folder / f"{name}.png")
    shown = [
        {"id": str(number), "image": image, "conversations": [{"from": "gpt", "value": text}]}
        for number, (image, text) in enumerate(SHOWN)
    ]
    (folder / "shown.json").write_text(json.dumps(shown))
    names = ("caption", "similarity", "watermark", "unsafe", "image")
    lines = [json.dumps(dict(zip(names, row, strict=True))) for row in CARRIED]
    (folder / "carried.jsonl").write_text("\n".join(lines))
    (folder / "bare.txt").write_text("\n".join(BARE))
    columns = {
        "image": "image",
        "clip_similarity": "similarity",
        "watermark_score": "watermark",
        "nsfw_score": "unsafe",
    }
    sources = [
        {"name": "shown", "path": str(folder / "shown.json"), "format": "llava"},
        {"name": "carried", "path": str(folder / "carried.jsonl"), "columns": columns, "max_bad_share": 0.2},
        {"name": "bare", "path": str(folder / "bare.txt")},
    ]
    with endpoint(lambda caption, _: says("No." if "purple" in caption else "Yes")) as judge:
        rules = {
            "text_length": {"min": 20},
            "num_words": {"max": 40},
            "watermark_score": {"max": 0.5},
            "nsfw_score": {"max": 0.5},
            "language": {},
            "image_text_similarity": {**SHAPES_CLIP, "min": 0.28},
            "duplicates": {"method": "near"},
            "perplexity": {"max": 160, "kenlm": models.model_dump()},
            "image_text_matching": {"model": str(blip)},
            "judge": {
                "base_url": judge.base_url,
                "model": "small",
                "question": QUESTION,
                **PRICES,
            },
            "keep_top": {"share": 0.5},
        }
        project = curation_project(folder / "project", sources, rules)
        curate(project)
        yield project, judge


def test_every_caption_has_the_verdict_it_deserves(every_rule):
    project, _ = every_rule
    raw, curated, rejected = captions_of(project.storage)
    assert raw.height == len(EXPECTED) == len(SHOWN) + len(CARRIED) + len(BARE)
    assert dict(rejected.select("text", "rejected_by").iter_rows()) | dict.fromkeys(curated["text"]) == EXPECTED
    assert curated.height + rejected.height == raw.height
    assert set(curated["caption_id"]) | set(rejected["caption_id"]) == set(raw["caption_id"])
    assert set(rejected["rejected_by"]) == {UNREADABLE_ROW, *CurationRules.model_fields}


def test_costly_statistics_are_those_of_the_captions_that_came_so_far(every_rule):
    project, judge = every_rule
    _, curated, rejected = captions_of(project.storage)
    both = pl.concat([curated, rejected], how="diagonal")
    order = [UNREADABLE_ROW, *project.recipe.curation.rule_order]
    for row in both.iter_rows(named=True):
        came = order.index(row["rejected_by"]) if row["rejected_by"] else len(order)
        reached = {rule: came >= order.index(rule) for rule in COSTLY_RULES}
        has_image = row["image_uri"] is not None
        known = {
            "image_text_similarity": row["clip_similarity"] is not None
            or (reached["image_text_similarity"] and has_image),
            "perplexity": reached["perplexity"],
            "image_text_matching": reached["image_text_matching"] and has_image,
            "judge": reached["judge"],
        }
        assert {rule: row[rule] is not None for rule in COSTLY_RULES} == known, row["text"]
        assert judge.asked[row["text"]] == reached["judge"], row["text"]
    carried = both.filter(pl.col("clip_similarity").is_not_null())
    assert carried["image_text_similarity"].equals(carried["clip_similarity"])
    assert set(curated["judge"]) == {1.0}


def test_what_could_not_be_measured_is_listed_and_warned_of(every_rule):
    project, _ = every_rule
    curated = captions_of(project.storage)[1]
    unmeasured = dict(curated.select("text", "not_measured").iter_rows())
    assert unmeasured[CROSS] == [
        "watermark_score",
        "nsfw_score",
        "image_text_similarity",
        "image_text_matching",
        "keep_top",
    ]
    assert unmeasured[RED[0]] == ["watermark_score", "nsfw_score"]
    assert unmeasured[next(iter(CARRIED))[0]] == ["image_text_matching"]
    with instance_of(project) as instance:
        key = dg.AssetCheckKey(dg.AssetKey("curated_captions"), "every_rule_was_measured")
        record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        evaluation = record.event.dagster_event.event_specific_data
    assert not evaluation.passed
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    counted = {rule: value.value for rule, value in evaluation.metadata.items()}
    assert counted == Counter(rule for rules in curated["not_measured"] for rule in rules)
    assert "nsfw_score (5)" in evaluation.description


def test_metadata_tells_what_was_measured_and_what_it_cost(every_rule):
    project, judge = every_rule
    questions = judge.asked.total()
    of = measurements(project)
    assert list(of) == list(COSTLY_RULES)
    assert of["judge"] == (questions, 0, 0)
    assert of["image_text_similarity"][:2] == (len(SHOWN), 0)
    assert of["image_text_matching"][:2] == (len(SHOWN), 0)
    assert {name: numbers[1] for name, numbers in of.items()} == dict.fromkeys(COSTLY_RULES, 0)
    for asset in ("curated_captions", "rejected_captions"):
        metadata = metadata_of(project, asset)
        assert metadata["judge_cost_dollars"] == pytest.approx(questions * DOLLARS_A_QUESTION)
        counts = Counter(rule for rule in EXPECTED.values() if rule)
        for rule, count in counts.items():
            assert f"| {rule} | {count} |" in metadata["rejected_by_rule"]
        assert f"{7 * questions:,} prompt_tokens, {2 * questions:,} completion_tokens" in metadata["measurements"]
    borderline = metadata_of(project, "curated_captions")["borderline"]
    for rule in ("image_text_similarity", "perplexity", "image_text_matching"):
        shown = [line for line in borderline.splitlines() if line.startswith(f"| {rule} |")]
        assert {"kept", "rejected"} == {line.split(" | ")[3] for line in shown}, rule
    most_rejected = metadata_of(project, "rejected_captions")["most_rejected"]
    for rule in {UNREADABLE_ROW, *CurationRules.model_fields}:
        assert f"| {rule} |" in most_rejected


def test_the_same_assets_give_the_same_tables_in_memory(every_rule):
    project, _ = every_rule
    for made, expected in zip(captions_of(project.storage), captions_of(undisturbed(project)), strict=True):
        assert_frame_equal(made, expected)


def test_a_second_run_does_nothing(every_rule):
    project, judge = every_rule
    before, asked = versions(project), judge.asked.total()
    with instance_of(project) as instance:
        runs = len(instance.get_runs())
    curate(project)
    with instance_of(project) as instance:
        assert len(instance.get_runs()) == runs
    assert (versions(project), judge.asked.total()) == (before, asked)


def test_another_threshold_measures_nothing_again(every_rule):
    project, judge = every_rule
    raw, curated, _ = captions_of(project.storage)
    asked = judge.asked.total()
    change_recipe(project, lambda recipe: recipe["curation"]["rules"]["perplexity"].update(max=80))
    curate(project)
    assert judge.asked.total() == asked
    assert {measured for measured, _, _ in measurements(project).values()} == {0}
    metadata = metadata_of(project, "curated_captions")
    assert metadata["judge_cost_dollars"] == 0
    assert metadata["judge_cost_dollars_so_far"] == pytest.approx(len(judge.asked) * DOLLARS_A_QUESTION)
    again, kept, rejected = captions_of(project.storage)
    assert again.equals(raw)
    assert kept.height + rejected.height == raw.height
    lost = set(curated.filter(pl.col("perplexity") > 80)["text"])
    assert lost
    assert lost < set(rejected.filter(pl.col("rejected_by") == "perplexity")["text"])


@pytest.mark.long
def test_kill_9_while_clip_measures_and_while_the_judge_is_asked(tmp_path):
    count = 120
    chance = np.random.default_rng(3)
    texts, pictures, uris = [], {}, []
    for number in range(count):
        scene = world.sample_scene(chance, n_objects=2)
        stream = io.BytesIO()
        Image.fromarray(world.render(scene, chance)).save(stream, "png")
        pictures[f"{number}.png"] = stream.getvalue()
        texts.append(f"{world.write_caption(scene, chance)[:-1]}, one of many.")
        uris.append(f"{number}.png")
    silent = texts[9]

    def answer(caption, _):
        return says("Perhaps." if caption == silent else "no" if "purple" in caption else "yes", after_seconds=0.1)

    with image_server(pictures, 0.05) as images, endpoint(answer) as judge:
        captions = pl.DataFrame({"caption": texts, "image": [images.url + uri for uri in uris]})
        captions.write_parquet(tmp_path / "captions.parquet")
        source = {"name": "web", "path": str(tmp_path / "captions.parquet"), "columns": {"image": "image"}}
        rules = {
            **dict.fromkeys(RULES_ON_TEXT),
            "image_text_similarity": {**SHAPES_CLIP, "min": 0.28, "batch_size": 4},
            "judge": {"base_url": judge.base_url, "model": "small", "question": QUESTION, "concurrency": 8, **PRICES},
        }
        project = curation_project(tmp_path / "project", [source], rules)

        curate_until(project, lambda: len(measurement_files(project, "image_text_similarity")) >= 5)
        stored = measured_values(project, "image_text_similarity")
        assert 0 < stored.height < count
        assert not judge.asked

        curate_until(project, lambda: judge.asked.total() >= 40)
        similarity = measured_values(project, "image_text_similarity")
        assert similarity.height == similarity["key"].n_unique() == count
        assert stored.join(similarity, on=["key", "value"], how="anti").is_empty()
        # What was under way when the process was killed is all that is fetched again.
        assert sum(images.asked.values()) <= count + (count - stored.height)
        assert sum(times == 1 for times in images.asked.values()) >= stored.height
        answered = measured_values(project, "judge")
        assert 0 < answered.height < count

        curate(project)
        again = [text for text, times in judge.asked.items() if times > 1 and text != silent]
        assert set(judge.asked) >= set(captions_of(project.storage)[1]["text"])
        assert len(again) <= 8
        assert judge.most_at_once <= 8
        verdicts = measured_values(project, "judge")
        assert verdicts.height == verdicts["key"].n_unique() == len(judge.asked) - 1
        assert measurements(project) == {
            "image_text_similarity": (0, count, 0),
            "judge": (verdicts.height - answered.height, answered.height, 1),
        }
        # The killed run left no metadata; what it paid for is counted all the same.
        so_far = metadata_of(project, "curated_captions")["judge_cost_dollars_so_far"]
        assert so_far == pytest.approx(verdicts.height * DOLLARS_A_QUESTION)
        for made, expected in zip(captions_of(project.storage), captions_of(undisturbed(project)), strict=True):
            assert_frame_equal(made, expected)


def test_kill_9_while_tables_are_written_and_while_kenlm_measures(tmp_path):
    good = [text for scene in islice(world.all_scenes(2), 0, 20_000, 3) for text in world.phrasings(scene)[:5]]
    lines = [line for text in good for line in (text, *(f"{text[:2]}{len(text)}",) * 3)]
    captions = tmp_path / "captions.txt"
    captions.write_text("\n".join(sentences(20)))
    rules = {
        **dict.fromkeys(RULES_ON_TEXT),
        "text_length": {"min": 20},
        "perplexity": {"max": 160, "kenlm": train_kenlm(tmp_path).model_dump()},
    }
    project = curation_project(tmp_path / "project", [{"name": "lines", "path": str(captions)}], rules)
    curate_here(project, project.storage)
    small = versions(project)
    captions.write_text("\n".join(lines))

    curate_until(project, is_being_written(project, "captions/raw"))
    assert versions(project) == small
    assert unfinished_files(Path(project.storage.url("captions/raw")))

    curate_until(project, lambda: len(measurement_files(project, "perplexity")) >= 4)
    assert captions_of(project.storage)[0].height == len(lines)
    assert versions(project)[1:] == small[1:]
    stored = measured_values(project, "perplexity")
    assert 20 < stored.height < len(good)

    curate_until(project, is_being_written(project, "captions/curated"))
    assert versions(project)[1:] == small[1:]
    values = measured_values(project, "perplexity")
    assert values.height == values["key"].n_unique()
    assert stored.join(values, on=["key", "value"], how="anti").is_empty()

    curate(project)
    assert measurements(project)["perplexity"][0] == 0
    assert measured_values(project, "perplexity").height == values.height
    for made, expected in zip(captions_of(project.storage), captions_of(undisturbed(project)), strict=True):
        assert_frame_equal(made, expected)
