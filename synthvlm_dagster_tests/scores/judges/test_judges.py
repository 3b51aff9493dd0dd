"""Each held-out judge against its model asked plainly, one image at a time; and what it refuses."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification, AutoModelForImageTextToText, AutoProcessor, ViTImageProcessor

from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.recipe import JUDGE_SETTINGS, Judges, Scoring
from synthvlm_dagster.recipe.judges.aesthetic import AestheticJudge
from synthvlm_dagster.recipe.judges.safety import SafetyJudge
from synthvlm_dagster.recipe.judges.siglip import SiglipJudge
from synthvlm_dagster.recipe.judges.vqa import VqaJudge
from synthvlm_dagster.scores.judge import JudgeModel
from synthvlm_dagster.scores.judges import HELD_OUT_JUDGES, check_judges, recipe_judges
from synthvlm_dagster.scores.judges.aesthetic import AestheticScore, read_head
from synthvlm_dagster.scores.judges.safety import SafetyScore
from synthvlm_dagster.scores.judges.siglip import SiglipScore
from synthvlm_dagster.scores.judges.vqa import VqaScore
from synthvlm_dagster_tests.scores.judges.tiny_models import save_linear_head, save_tiny_llava

CAPTIONS = ["picture number 3", 'a red circle picture number 77 "red" {circle}', "a", "red circle"]


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    chance = np.random.default_rng(0)
    return [chance.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8) for number in range(4)]


def judged(judge: JudgeModel, images: list[np.ndarray]) -> np.ndarray:
    judge.load()
    values = judge.score([judge.prepare(image) for image in images], CAPTIONS)
    assert (values.dtype, values.shape) == (np.float64, (len(images),))
    return values


def test_siglip_is_the_cosine_with_the_bare_caption(tiny_clip_folder: Path, images: list[np.ndarray]) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip_folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{tiny_clip_folder}")(CAPTIONS)
    with torch.inference_mode():
        seen = model.eval().encode_image(torch.stack([preprocess(Image.fromarray(image)) for image in images]))
        told = model.encode_text(tokens)
    expected = torch.nn.functional.cosine_similarity(seen, told)
    values = judged(SiglipScore(SiglipJudge(model=str(tiny_clip_folder), pretrained=None), "cpu"), images)
    assert values == pytest.approx(expected.numpy(), abs=1e-6)


def test_cosines_of_siglip_may_be_negative(tiny_clip_folder: Path, images: list[np.ndarray], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = load_file(tiny_clip_folder / "open_clip_model.safetensors")
    weights["visual.proj"] = -weights["visual.proj"]
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text((tiny_clip_folder / "open_clip_config.json").read_text())
    plain = judged(SiglipScore(SiglipJudge(model=str(tiny_clip_folder), pretrained=None), "cpu"), images)
    turned = judged(SiglipScore(SiglipJudge(model=str(tmp_path), pretrained=None), "cpu"), images)
    assert turned == pytest.approx(-plain, abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_vqa_is_the_probability_of_yes(models: Path, images: list[np.ndarray], batch_size: int) -> None:
    processor = AutoProcessor.from_pretrained(models / "llava")
    model = AutoModelForImageTextToText.from_pretrained(models / "llava").eval()
    yes = processor.tokenizer.convert_tokens_to_ids("Yes")
    expected = []
    for image, caption in zip(images, CAPTIONS, strict=True):
        text = f'<image> Does this figure show "{caption}"? Please answer yes or no. ANSWER :'
        inputs = processor(text=text, images=Image.fromarray(image), return_tensors="pt")
        with torch.inference_mode():
            expected.append(model(**inputs).logits[0, -1].softmax(dim=-1)[yes].item())
    values = judged(VqaScore(VqaJudge(model=str(models / "llava"), batch_size=batch_size), "cpu"), images)
    assert values == pytest.approx(expected, rel=1e-4)
    assert len(set(values)) == len(images)


def test_vqa_asks_another_question_for_another_answer(models: Path, images: list[np.ndarray]) -> None:
    usual = judged(VqaScore(VqaJudge(model=str(models / "llava")), "cpu"), images)
    other = VqaJudge(model=str(models / "llava"), question="number {caption} ?", answer="no")
    assert not np.isclose(judged(VqaScore(other, "cpu"), images), usual).any()


def test_vqa_needs_a_chat_template(tmp_path: Path) -> None:
    folder = save_tiny_llava(tmp_path / "base-llava", chat_template=None)
    with pytest.raises(ModelError, match=r"scoring\.judges\.vqa\.model: .*base-llava: has no chat template"):
        VqaScore(VqaJudge(model=str(folder)), "cpu").load()


def test_aesthetic_is_the_head_over_the_embedding(
    models: Path, tiny_clip_folder: Path, images: list[np.ndarray]
) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip_folder}")
    head = torch.nn.Linear(16, 1)
    head.load_state_dict(load_file(models / "head.safetensors"))
    with torch.inference_mode():
        seen = model.eval().encode_image(torch.stack([preprocess(Image.fromarray(image)) for image in images]))
        expected = head(seen / seen.norm(dim=-1, keepdim=True))[:, 0]
    values = judged(AestheticScore(aesthetic(models / "head.safetensors", tiny_clip_folder), "cpu"), images)
    assert values == pytest.approx(expected.numpy(), abs=1e-5)


def test_a_head_of_several_layers_is_one_function(tmp_path: Path) -> None:
    widths = [16, 8, 8, 4, 3, 2, 2, 2, 2, 2, 2, 1]
    file = save_linear_head(tmp_path / "head.safetensors", widths)
    tensors = {name: tensor.double() for name, tensor in load_file(file).items()}
    x = torch.randn(16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = x
    for number in range(len(widths) - 1):
        expected = tensors[f"layers.{2 * number}.weight"] @ expected + tensors[f"layers.{2 * number}.bias"]
    weight, bias = read_head(str(file))
    assert weight @ x.numpy() + bias == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("widths", "words"), [([16, 2], "does not end in one number"), ([8, 1], "takes 8 numbers, and .* gives 16")]
)
def test_a_head_that_does_not_fit(
    widths: list[int], words: str, tiny_clip_folder: Path, images: list[np.ndarray], tmp_path: Path
) -> None:
    file = save_linear_head(tmp_path / "head.safetensors", widths)
    with pytest.raises(ModelError, match=rf"aesthetic\.predictor: .*{words}"):
        judged(AestheticScore(aesthetic(file, tiny_clip_folder), "cpu"), images)


def test_safety_is_the_worst_classifiers_sum(models: Path, images: list[np.ndarray]) -> None:
    sums = []
    for name, labels in (("nsfw", [1]), ("marks", [1, 2])):
        model = AutoModelForImageClassification.from_pretrained(models / name).eval()
        inputs = ViTImageProcessor.from_pretrained(models / name)(
            list(map(Image.fromarray, images)), return_tensors="pt"
        )
        with torch.inference_mode():
            sums.append(model(**inputs).logits.softmax(dim=-1)[:, labels].sum(dim=1).numpy())
    judge = SafetyJudge(
        classifiers=[
            {"model": str(models / "nsfw"), "labels": ["NSFW"]},
            {"model": str(models / "marks"), "labels": ["watermark", "logo"]},
        ]
    )
    assert judged(SafetyScore(judge, "cpu"), images) == pytest.approx(np.max(sums, axis=0), abs=1e-6)


def test_unknown_labels_are_refused_with_the_known_ones(models: Path) -> None:
    judge = SafetyJudge(classifiers=[{"model": str(models / "nsfw"), "labels": ["porn"]}])
    with pytest.raises(ModelError, match=r"classifiers\.0\.labels: .* has no label porn; it has normal, nsfw"):
        SafetyScore(judge, "cpu").load()


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        ({"siglip": {"model": "ViT-B32"}}, r"judges\.siglip\.model: open_clip has no architecture ViT-B32"),
        ({"vqa": {"model": "/nowhere/vlm"}}, r"judges\.vqa\.model: /nowhere/vlm: no such model folder"),
        ({"aesthetic": {"predictor": "/nowhere/head"}}, r"judges\.aesthetic\.predictor: /nowhere/head: cannot be read"),
        (
            {"safety": {"classifiers": [{"model": "/nowhere/nsfw", "labels": ["nsfw"]}]}},
            r"judges\.safety\.classifiers\.0\.model: /nowhere/nsfw: no such model folder",
        ),
    ],
)
def test_models_that_are_not_there_are_refused_beforehand(judge: dict[str, object], words: str) -> None:
    scoring = Scoring(judges=Judges.model_validate(judge))
    with pytest.raises(ModelError, match=words):
        check_judges(scoring)
    [refused] = recipe_judges(scoring).values()
    with pytest.raises(ModelError, match=words):
        refused.load()


def test_columns_of_the_judges_that_are_on(models: Path) -> None:
    assert Judges().columns == ()
    some = Judges.model_validate({"vqa": {"model": "x/y"}, "siglip": {}})
    assert some.columns == ("siglip_score", "vqa_score")
    assert [JUDGE_SETTINGS[name].column for name in recipe_judges(Scoring(judges=some))] == list(some.columns)


def test_every_judge_has_its_settings_and_a_word_in_the_readme() -> None:
    assert set(HELD_OUT_JUDGES) == set(JUDGE_SETTINGS)
    text = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    assert [name for name in JUDGE_SETTINGS if f"`{name}`" not in text] == []


def aesthetic(head: Path, clip: Path) -> AestheticJudge:
    return AestheticJudge(predictor=str(head), model=str(clip), pretrained=None)
