import itertools

import numpy as np
import pytest
import torch

from synthvlm_dagster.demo import train, world
from synthvlm_dagster.demo.training.clip import TextsAndPictures, scene_attributes, text_encoder_2, tokenize
from synthvlm_dagster.demo.training.group_norm import ChannelsLastGroupNorm
from synthvlm_dagster.demo.training.loop import Budget, Trainer
from synthvlm_dagster.demo.training.muon import Muon, orthogonalise
from synthvlm_dagster.demo.training.negatives import FAILURES, draw_failure, swap_one_attribute
from synthvlm_dagster.demo.training.tokenizer import CONTEXT_LENGTH, SCORER_PREFIX, build_tokenizer
from synthvlm_dagster.demo.training.unet import sample_timesteps


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_every_word_of_the_world_is_one_token(tokenizer):
    for word in [*world.vocabulary(), *SCORER_PREFIX.split()]:
        assert len(tokenizer.tokenize(word)) == 1


def test_the_longest_caption_fits_with_the_prefix(tokenizer):
    longest = max(
        (caption for scene in itertools.islice(world.all_scenes(2), 0, None, 97) for caption in world.phrasings(scene)),
        key=len,
    )
    assert len(tokenizer(SCORER_PREFIX + longest).input_ids) <= CONTEXT_LENGTH


def test_any_other_text_falls_back_to_bytes_and_comes_back(tokenizer):
    text = "zürich, 3 cats! 日本"
    ids = tokenizer(text).input_ids
    assert tokenizer.eos_token_id not in ids[1:-1]
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")


def test_text_encoder_2_is_the_clips_text_tower(tokenizer):
    torch.manual_seed(0)
    clip = TextsAndPictures(tokenizer).clip.eval()
    tokens = tokenize(tokenizer, ["A large red circle is on a dotted background.", "a photo"])
    with torch.no_grad():
        torch.testing.assert_close(text_encoder_2(clip, tokenizer)(tokens).text_embeds, clip.encode_text(tokens))


def test_equal_scenes_have_equal_attributes():
    scene = world.parse_caption("a large red circle below a small blue square on a dotted background")
    told_backwards = world.parse_caption("a small blue square above a large red circle on a dotted background")
    assert scene_attributes(scene) == scene_attributes(told_backwards)


@pytest.mark.parametrize("n_objects", [1, 2])
def test_failures_differ_from_a_render_and_swaps_change_the_scene(n_objects):
    rng = np.random.default_rng(0)
    for _ in range(20):
        scene = world.sample_scene(rng, n_objects)
        assert swap_one_attribute(scene, rng).canonical() != scene.canonical()
        for failure in FAILURES:
            if n_objects == {"missing object": 1, "extra object": 2}.get(failure):
                with pytest.raises(ValueError, match="does not fit"):
                    draw_failure(scene, failure, rng)
                continue
            failed = draw_failure(scene, failure, np.random.default_rng(1))
            right = world.render(scene, np.random.default_rng(1))
            assert failed.shape == right.shape
            assert np.abs(failed.astype(int) - right).max() > 30


def test_group_norm_equals_pytorchs_with_gradients():
    torch.manual_seed(0)
    reference, fast = torch.nn.GroupNorm(4, 16), ChannelsLastGroupNorm(4, 16)
    torch.nn.init.normal_(reference.weight)
    torch.nn.init.normal_(reference.bias)
    fast.load_state_dict(reference.state_dict())
    for shape in ((3, 16, 8, 8), (3, 16, 20)):
        x = torch.randn(shape) + 2
        weights = torch.randn(shape)
        gradients = []
        for module in (reference, fast):
            module.zero_grad()
            leaf = x.clone().requires_grad_()
            y = module(leaf)
            (y * weights).sum().backward()
            gradients.append([y.detach(), leaf.grad, module.weight.grad.clone(), module.bias.grad.clone()])
        for expected, actual in zip(*gradients, strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


def test_orthogonalised_matrices_have_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((8, 40), (40, 8)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)).float())
        assert values.min() > 0.5
        assert values.max() < 1.5


def test_timesteps_cover_the_schedule():
    times = sample_timesteps(np.random.default_rng(0), 20_000)
    assert times.min() < 10
    assert times.max() == 999
    assert np.histogram(times, 10, (0, 1000))[0].min() > 500


def _trainer(folder, steps):
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 4)
    optimizers = [Muon([model.weight], lr=0.02), torch.optim.AdamW([model.bias], lr=0.01)]
    trainer = Trainer(model, optimizers, folder / "model.pt", Budget(1e9, 6), seed=0)

    def losses(rng):
        if trainer.steps == steps:
            raise KeyboardInterrupt
        x = torch.from_numpy(rng.standard_normal((8, 4), dtype=np.float32))
        return {"mse": (model(x) - x).square().mean() + 0.01 * torch.rand(())}

    return trainer, losses


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path):
    whole, losses = _trainer(tmp_path / "whole", steps=None)
    whole.train(losses)

    first, losses = _trainer(tmp_path / "parts", steps=3)
    with pytest.raises(KeyboardInterrupt):
        first.train(losses)
    first.save()
    second, losses = _trainer(tmp_path / "parts", steps=None)
    assert second.steps == 3
    second.train(losses)

    assert second.steps == whole.steps == 6
    torch.testing.assert_close(second.averaged.state_dict(), whole.averaged.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(second.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


@pytest.mark.long
def test_the_program_trains_and_exports_folders_that_open(tmp_path):
    arguments = ["--output", str(tmp_path), "--pool-size", "96", "--negatives", "64", "--decoded", "48"]
    arguments += ["--vae-steps", "2", "--texts-steps", "2", "--clip-steps", "2", "--unet-steps", "2"]
    train.main(arguments)
    weights = (tmp_path / "work" / "unet_final.pt").stat().st_mtime_ns
    train.main([*arguments, "--stage", "export"])
    assert (tmp_path / "work" / "unet_final.pt").stat().st_mtime_ns == weights

    import open_clip
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(tmp_path / "shapes-sdxl", torch_dtype=torch.float32)
    image = pipeline("a large red circle", height=64, width=64, num_inference_steps=2, output_type="np").images[0]
    assert image.shape == (64, 64, 3)
    assert np.isfinite(image).all()
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'shapes-clip'}")
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'shapes-clip'}")(["a large red circle"])
    assert model.encode_text(tokens).shape == (1, 128)
