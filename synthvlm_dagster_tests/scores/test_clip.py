"""CLIPScore against a cosine written out by hand, and the models it must refuse."""

import json
import math
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from synthvlm_dagster.errors import ImageError, ModelError, RecipeError
from synthvlm_dagster.models.open_clip import OpenClip
from synthvlm_dagster.recipe import ClipScoring
from synthvlm_dagster.scores.clip import ClipScorer, check_model, clip_scores
from synthvlm_dagster_tests.pictures import draw

CAPTIONS = ["a red circle", "a small blue square", "a red circle", "waves " * 200]


@pytest.fixture
def images() -> list[np.ndarray]:
    sizes = [(32, 32), (64, 48), (40, 40), (33, 70)]
    return [np.asarray(draw(f"picture {number}", *size)) for number, size in enumerate(sizes)]


def folder_clip(folder: Path, **changed: object) -> ClipScoring:
    return ClipScoring.model_validate({"model": str(folder), "pretrained": None} | changed)


def cosine(folder: Path, image: np.ndarray, text: str) -> float:
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokens = open_clip.get_tokenizer(name)([text])
    model.eval()
    with torch.no_grad():
        seen = model.encode_image(preprocess(Image.fromarray(image)).unsqueeze(0))[0].tolist()
        told = model.encode_text(tokens)[0].tolist()
    product = sum(a * b for a, b in zip(seen, told, strict=True))
    return product / (math.hypot(*seen) * math.hypot(*told))


def test_is_the_cosine_with_the_prefixed_caption(tiny_clip_folder: Path, images: list[np.ndarray]) -> None:
    scores = ClipScorer(folder_clip(tiny_clip_folder), "cpu").clip_scores(images, CAPTIONS)
    expected = [
        cosine(tiny_clip_folder, image, f"A photo depicts {caption}")
        for image, caption in zip(images, CAPTIONS, strict=True)
    ]
    assert min(expected) > 0.05
    assert max(expected) - min(expected) > 0.01
    assert scores.dtype == np.float64
    assert scores == pytest.approx(expected, abs=1e-6)


def test_another_prefix_gives_another_score(tiny_clip_folder: Path, images: list[np.ndarray]) -> None:
    bare = ClipScorer(folder_clip(tiny_clip_folder, prompt_prefix=""), "cpu").clip_scores(images[:1], CAPTIONS[:1])
    assert bare == pytest.approx([cosine(tiny_clip_folder, images[0], CAPTIONS[0])], abs=1e-6)
    prefixed = ClipScorer(folder_clip(tiny_clip_folder), "cpu").clip_scores(images[:1], CAPTIONS[:1])
    assert abs(bare - prefixed) > 1e-3


def test_a_score_does_not_depend_on_its_batch(tiny_clip_folder: Path, images: list[np.ndarray]) -> None:
    scorer = ClipScorer(folder_clip(tiny_clip_folder), "cpu")
    together = scorer.clip_scores(images, CAPTIONS)
    alone = [scorer.clip_scores([image], [text])[0] for image, text in zip(images, CAPTIONS, strict=True)]
    assert together == pytest.approx(alone, abs=1e-6)


def test_negative_cosines_become_zero(tiny_clip_folder: Path, images: list[np.ndarray], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_clip_folder / "open_clip_model.safetensors")
    weights["text_projection"] = -weights["text_projection"]
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    config = (tiny_clip_folder / "open_clip_config.json").read_text()
    (tmp_path / "open_clip_config.json").write_text(config)
    assert cosine(tmp_path, images[0], "A photo depicts a red circle") < 0
    assert ClipScorer(folder_clip(tmp_path), "cpu").clip_scores(images[:1], ["a red circle"]).tolist() == [0.0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_close(tiny_clip_folder: Path, images: list[np.ndarray], dtype: str) -> None:
    full = ClipScorer(folder_clip(tiny_clip_folder), "cpu").clip_scores(images, CAPTIONS)
    half = ClipScorer(folder_clip(tiny_clip_folder, dtype=dtype), "cpu").clip_scores(images, CAPTIONS)
    assert half == pytest.approx(full, abs=0.03)


def test_no_images_need_no_model() -> None:
    assert ClipScorer(folder_clip(Path("/nowhere"))).clip_scores([], []).tolist() == []


def test_every_image_needs_a_caption(tiny_clip_folder: Path, images: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="4 images but 1 captions"):
        ClipScorer(folder_clip(tiny_clip_folder)).clip_scores(images, CAPTIONS[:1])


def test_openai_weights_get_the_activation_they_were_trained_with(
    images: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """open_clip's ViT-B-32 has GELU and OpenAI's weights for it QuickGELU, of which open_clip only warns."""
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = open_clip.create_model("ViT-B-32").state_dict()
    file = tmp_path / "open_clip_model.safetensors"
    save_file(weights, file)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: str(file))
    scorer = ClipScorer(ClipScoring(), "cpu")
    scorer.clip_scores(images[:1], CAPTIONS[:1])
    activations = {type(module).__name__ for module in scorer._loaded.model.modules()}
    assert "QuickGELU" in activations
    assert "GELU" not in activations


def test_a_good_folder_and_known_names_pass_the_check(tiny_clip_folder: Path) -> None:
    check_model(folder_clip(tiny_clip_folder))
    check_model(folder_clip(Path(f"local-dir:{tiny_clip_folder}")))
    check_model(ClipScoring())
    check_model(ClipScoring(model="hf-hub:timm/ViT-B-16-SigLIP", pretrained=None))


@pytest.mark.parametrize(
    ("model", "pretrained", "words"),
    [
        ("/nowhere/clip", None, "/nowhere/clip: no such model folder"),
        ("ViT-B32", "openai", "no architecture ViT-B32. Did you mean ViT-B-32"),
        ("ViT-B-32", "opnai", "no weights opnai. Did you mean openai"),
        ("ViT-B-32", None, "pretrained: is required .* random weights"),
    ],
)
def test_refuses_models_that_cannot_be(model: str, pretrained: str | None, words: str) -> None:
    clip = ClipScoring(model=model, pretrained=pretrained)
    with pytest.raises(ModelError, match=words):
        check_model(clip)
    with pytest.raises(ModelError, match=words):
        ClipScorer(clip).clip_scores([np.zeros((32, 32, 3), dtype=np.uint8)], ["a red circle"])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "is not an open_clip model: it has no open_clip_config.json"),
        ({"open_clip_config.json": "{"}, "open_clip_config.json: cannot be read"),
        ({"open_clip_config.json": "{}"}, "has no model_cfg"),
        ({"open_clip_config.json": json.dumps({"model_cfg": {}})}, "holds no weights"),
    ],
)
def test_refuses_folders_that_are_no_model(files: dict[str, str], words: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match=words):
        check_model(folder_clip(tmp_path))


def test_damaged_weights_are_one_clear_error(tiny_clip_folder: Path, tmp_path: Path) -> None:
    for file in tiny_clip_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"scoring\.clip\.model: .* cannot be loaded"):
        ClipScorer(folder_clip(tmp_path), "cpu").clip_scores([np.zeros((8, 8, 3), dtype=np.uint8)], ["a circle"])


def test_weights_that_must_be_fetched_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for clip in (ClipScoring(), ClipScoring(model="hf-hub:someone/some-model", pretrained=None)):
        with pytest.raises(ModelError, match=r"cannot be loaded.*need the network"):
            ClipScorer(clip, "cpu").clip_scores([np.zeros((8, 8, 3), dtype=np.uint8)], ["a circle"])


def test_an_impossible_device_is_a_mistake_in_the_recipe(tiny_clip_folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"scoring\.device: torch cannot use .abacus"):
        ClipScorer(folder_clip(tiny_clip_folder), "abacus").clip_scores(
            [np.zeros((8, 8, 3), dtype=np.uint8)], ["a circle"]
        )


def test_a_caption_is_encoded_once_across_batches(
    tiny_clip_folder: Path, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = ClipScorer(folder_clip(tiny_clip_folder), "cpu")
    scorer.load()
    encoded: list[str] = []
    embed_texts = OpenClip.embed_texts

    def embed(self: OpenClip, texts: list[str]) -> np.ndarray:
        encoded.extend(texts)
        return embed_texts(self, texts)

    monkeypatch.setattr(OpenClip, "embed_texts", embed)
    prepared = [scorer.prepare(image) for image in images]
    batches = [scorer.score(prepared, ["a", "b", "a", "b"]).scores, scorer.score(prepared, ["b", "a", "c", "a"]).scores]
    assert encoded == ["A photo depicts a", "A photo depicts b", "A photo depicts c"]
    fresh = ClipScorer(folder_clip(tiny_clip_folder), "cpu").clip_scores(images, ["b", "a", "c", "a"])
    assert batches[1] == pytest.approx(fresh, abs=1e-6)


def test_a_notebook_measures_files_and_arrays(tiny_clip_folder: Path, images: list[np.ndarray], tmp_path: Path) -> None:
    for number, image in enumerate(images[:2]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    given = [tmp_path / "0.png", str(tmp_path / "1.png"), *images[2:]]
    options = {"model": str(tiny_clip_folder), "pretrained": None, "device": "cpu"}
    expected = ClipScorer(folder_clip(tiny_clip_folder), "cpu").clip_scores(images, CAPTIONS)
    for batch_size in (1, 3, 64):
        scores = clip_scores(given, CAPTIONS, batch_size=batch_size, **options)
        assert scores == pytest.approx(expected, abs=1e-6)
    assert clip_scores([], [], **options).shape == (0,)
    with pytest.raises(ValueError, match="4 images but 1 captions"):
        clip_scores(given, CAPTIONS[:1], **options)
    with pytest.raises(ImageError, match=r"9\.png: cannot be read: No such file"):
        clip_scores([tmp_path / "9.png"], ["a"], **options)
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:80])
    with pytest.raises(ImageError, match=r"cut\.png: cannot be decoded"):
        clip_scores([images[0], tmp_path / "cut.png"], ["a", "b"], **options)
