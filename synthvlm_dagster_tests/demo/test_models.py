"""The models that the package ships: that they open, belong together, and do what they are for."""

from pathlib import Path

import numpy as np
import pytest
import torch

import synthvlm_dagster.demo
from synthvlm_dagster.demo import evaluate, oracle, world

MODELS = Path(synthvlm_dagster.demo.__file__).parent / "models"
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def scorer():
    return evaluate.Scorer(MODELS / "shapes-clip")


def test_they_are_small_and_everybody_can_read_them():
    files = [path for path in MODELS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 15 * MEBIBYTE
    for path in files:
        assert path.stat().st_mode & 0o444 == 0o444, f"{path} cannot be read by everybody"
    assert not [path for path in files if path.suffix in {".bin", ".pt", ".ckpt"}]


def test_the_folders_hold_an_sdxl_pipeline_and_an_open_clip_model():
    parts = {path.name for path in (MODELS / "shapes-sdxl").iterdir()}
    assert parts == {
        "model_index.json",
        "scheduler",
        "text_encoder",
        "text_encoder_2",
        "tokenizer",
        "tokenizer_2",
        "unet",
        "vae",
    }
    assert {path.name for path in (MODELS / "shapes-clip").iterdir()} == {
        "open_clip_config.json",
        "open_clip_model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_scorer_and_generator_read_with_the_same_tokenizer():
    expected = (MODELS / "shapes-clip" / "tokenizer.json").read_bytes()
    for name in ("tokenizer", "tokenizer_2"):
        assert (MODELS / "shapes-sdxl" / name / "tokenizer.json").read_bytes() == expected


def test_text_encoder_2_embeds_like_the_scorer():
    import open_clip
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    name = f"local-dir:{MODELS / 'shapes-clip'}"
    model, _, _ = open_clip.create_model_and_transforms(name)
    text = ["There is a small green cross on a striped background."]
    ids = CLIPTokenizer.from_pretrained(MODELS / "shapes-sdxl" / "tokenizer_2")(
        text, padding="max_length", return_tensors="pt"
    ).input_ids
    assert torch.equal(ids, open_clip.get_tokenizer(name)(text))
    encoder = CLIPTextModelWithProjection.from_pretrained(
        MODELS / "shapes-sdxl" / "text_encoder_2", dtype=torch.float32
    )
    with torch.no_grad():
        torch.testing.assert_close(encoder(ids).text_embeds, model.eval().encode_text(ids), rtol=1e-3, atol=1e-3)


def test_the_scorer_puts_the_truth_first(scorer):
    figures = evaluate.scorer_figures(MODELS, 60, np.random.default_rng(0))
    assert figures["caption with one attribute changed"] >= 0.95
    assert figures["failures"] >= 0.9


def test_the_generator_draws_held_out_captions():
    rng = np.random.default_rng(0)
    scenes = [scene for scene in evaluate.held_out_scenes(48, rng) if len(scene.objects) == 1]
    assert all(world.is_held_out(scene) for scene in scenes)
    captions = [world.write_caption(scene, rng) for scene in scenes]
    images = evaluate.generate(MODELS / "shapes-sdxl", captions, list(range(len(captions))))
    correct = [oracle.judge(image, scene).all_correct for image, scene in zip(images, scenes, strict=True)]
    assert np.mean(correct) >= 0.5


def test_a_picture_does_not_depend_on_its_batch():
    captions = ["A large red circle is on a dotted background.", "A small blue cross is on a striped background."]
    together = evaluate.generate(MODELS / "shapes-sdxl", captions, [1, 2])
    alone = evaluate.generate(MODELS / "shapes-sdxl", captions[1:], [2])
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 2
