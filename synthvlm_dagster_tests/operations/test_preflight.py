"""What `synthvlm check` says of caption sources, devices and models."""

import json
import re
import zipfile

import pytest

from synthvlm_dagster.operations.preflight import check_recipe
from synthvlm_dagster.recipe import load_recipe


@pytest.fixture
def finding(tmp_path):
    """A function that takes a source's settings and returns what is found of it."""
    demo = load_recipe("demo").model_copy(update={"storage": str(tmp_path / "storage")})

    def find(**settings):
        source = demo.sources[0].model_validate({"name": "mine", **settings})
        found = {at.subject: at for at in check_recipe(demo.model_copy(update={"sources": (source,)}))}
        return found["sources.mine"]

    return find


def test_a_source_is_told_with_its_format_columns_and_first_caption(tmp_path, finding):
    items = [None, {"caption": "a dog " * 20, "image": "1.jpg"}, {"caption": "a cat", "image": "2.jpg"}]
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(items))
    found = finding(path=str(tmp_path / "*.json"))
    assert found.state == "ok"
    assert found.message == (
        f"{tmp_path}/a.json and 1 more, format synthvlm, with text, image_uri "
        f"(2 of the first 6 rows unusable; the first caption: '{'a dog ' * 10}…')"
    )


def test_a_source_that_cannot_be_read_is_an_error(tmp_path, finding):
    (tmp_path / "a.csv").write_text("title\na dog\n")
    found = finding(path=str(tmp_path / "a.csv"))
    assert found.state == "error"
    assert "perhaps columns: {text: title}" in found.message


def test_files_in_a_local_archive_are_looked_at_and_remote_ones_are_not(tmp_path, finding):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "a dog\n")
    assert "format txt" in finding(path=f"zip://a.txt::{tmp_path}/a.zip").message
    assert finding(path="zip://a.txt::s3://bucket/a.zip").state == "unknown"


def test_a_device_that_this_machine_lacks_is_an_error(tmp_path):
    demo = load_recipe("demo")
    rules = demo.curation.rules.model_validate({"image_text_matching": {"min": 0.5, "device": "cuda:77"}})
    recipe = demo.model_copy(
        update={
            "storage": str(tmp_path / "storage"),
            "curation": demo.curation.model_copy(update={"rules": rules}),
            "generation": demo.generation.model_copy(update={"device": "gpu"}),
            "scoring": demo.scoring.model_copy(update={"device": "meta"}),
        }
    )
    found = {at.subject: at for at in check_recipe(recipe)}
    assert found["scoring.device"].state == "ok"
    for field, name in {"generation.device": "gpu", "curation.rules.image_text_matching.device": "cuda:77"}.items():
        assert found[field].state == "error"
        assert f"{field}: torch cannot use '{name}'" in found[field].message
    assert not [subject for subject in {at.subject for at in check_recipe(demo)} if subject.endswith("device")]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"generator": "sd3"}, "generation.generator: .* is a StableDiffusionXLPipeline, not of the family sd3"),
        ({"loras": [{"model": "CLIP"}]}, "holds no LoRA weights. Correct generation.loras"),
        ({"quantization": {"backend": "no-such"}}, "generation.quantization.backend: no-such is none of bitsandbytes"),
        (
            {
                "num_inference_steps": 50,
                "scheduler": {"name": "LCMScheduler", "config": {"original_inference_steps": 4}},
            },
            "LCMScheduler refuses original_inference_steps: 4 with num_inference_steps 50",
        ),
    ],
)
def test_what_a_run_would_refuse_of_the_model_is_an_error(tmp_path, settings, told):
    demo = load_recipe("demo")
    settings = json.loads(json.dumps(settings).replace("CLIP", demo.scoring.clip.model))
    generation = demo.generation.model_validate(demo.generation.model_dump(exclude_unset=True) | settings)
    recipe = demo.model_copy(update={"storage": str(tmp_path / "storage"), "generation": generation})
    found = {at.subject: at for at in check_recipe(recipe)}
    assert found["generation.model"].state == "error"
    assert re.search(told, found["generation.model"].message), found["generation.model"].message
