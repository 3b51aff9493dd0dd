import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from synthvlm_dagster.errors import ModelError, RecipeError
from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster.images.generators import family as family_module
from synthvlm_dagster.images.generators.sdxl import StableDiffusionXL
from synthvlm_dagster.recipe import RECIPES_FOLDER, Generation
from synthvlm_dagster_tests.conftest import save_tiny_sdxl
from synthvlm_dagster_tests.images.generators.test_families import SEEDS, TEXTS, MakeGenerator, draw, most_different
from synthvlm_dagster_tests.images.generators.tiny_models import SIZE


def denoiser_batches(generator: DiffusersGenerator) -> list[list[int]]:
    """Lists that get the batch size of every call of each pipeline's denoiser."""
    generator.load()
    calls: list[list[int]] = []
    for pipeline in generator._pipelines:
        sizes: list[int] = []
        denoiser = getattr(pipeline, "unet", None) or pipeline.transformer
        denoiser.register_forward_pre_hook(
            lambda _, inputs, named, sizes=sizes: sizes.append(len(inputs[0] if inputs else named["hidden_states"])),
            with_kwargs=True,
        )
        calls.append(sizes)
    return calls


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3"])
def test_guidance_ends_after_its_share_of_the_steps(make_generator: MakeGenerator, family: str) -> None:
    generator = make_generator(family, num_inference_steps=5, guidance_end=0.6)
    [batches] = denoiser_batches(generator)
    latents = generator.denoise(TEXTS, SEEDS)
    assert batches == [8, 8, 8, 4, 4]
    assert torch.equal(generator.denoise(TEXTS, SEEDS), latents)
    assert not torch.equal(make_generator(family, num_inference_steps=5).denoise(TEXTS, SEEDS), latents)
    pictures = draw(generator, TEXTS, SEEDS)
    alone = np.concatenate([draw(generator, [text], [seed]) for text, seed in zip(TEXTS, SEEDS, strict=True)])
    assert most_different(pictures, alone) <= 2


def test_guidance_that_is_off_cannot_end(make_generator: MakeGenerator) -> None:
    generator = make_generator("sdxl", guidance_scale=1, guidance_end=0.6)
    [batches] = denoiser_batches(generator)
    draw(generator, TEXTS, SEEDS)
    assert batches == [4, 4, 4]


@pytest.mark.parametrize(
    ("guidance_end", "base", "refiner"),
    [
        (1.0, [2] * 8, [2, 2]),
        (0.9, [2] * 8, [2, 1]),
        (0.8, [2] * 8, [1, 1]),
        (0.4, [2] * 4 + [1] * 4, [1, 1]),
    ],
)
def test_guidance_ends_in_the_pipeline_that_does_that_step(
    make_generator: MakeGenerator, tmp_path: Path, guidance_end: float, base: list[int], refiner: list[int]
) -> None:
    model = save_tiny_sdxl(tmp_path / "refiner", seed=1, refiner=True)
    settings = {"num_inference_steps": 10, "refiner": {"model": str(model)}, "guidance_end": guidance_end}
    generator = make_generator("sdxl", **settings)
    batches = denoiser_batches(generator)
    draw(generator, TEXTS[:1], SEEDS[:1])
    assert batches == [base, refiner]


def test_an_autoencoder_takes_the_place_of_the_models(
    make_generator: MakeGenerator, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    another = save_tiny_sdxl(tmp_path / "another", seed=5) / "vae"
    generator = make_generator("sdxl", vae={"model": str(another)})
    whole = make_generator("sdxl")
    latents = generator.denoise(TEXTS, SEEDS)
    assert torch.equal(latents, whole.denoise(TEXTS, SEEDS))
    assert most_different(draw(generator, TEXTS, SEEDS), draw(whole, TEXTS, SEEDS)) > 10


def test_an_autoencoder_of_published_latent_statistics_is_undone_as_the_pipeline_does(
    make_generator: MakeGenerator, tmp_path: Path
) -> None:
    vae = shutil.copytree(save_tiny_sdxl(tmp_path / "model") / "vae", tmp_path / "vae")
    config = (vae / "config.json").read_text()
    config = config.replace('"latents_mean": null', '"latents_mean": [1, 2, -1, 0.5]')
    (vae / "config.json").write_text(config.replace('"latents_std": null', '"latents_std": [2, 3, 2, 0.7]'))
    generator = make_generator("sdxl", vae={"model": str(vae)})
    drawn = draw(generator, TEXTS, SEEDS)
    pipeline = generator._pipelines[0]
    own = pipeline(
        TEXTS,
        num_inference_steps=3,
        guidance_scale=3.0,
        width=32,
        height=32,
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in SEEDS],
    ).images
    assert pipeline.vae.config.latents_mean == [1, 2, -1, 0.5]
    assert np.array_equal(np.stack([np.asarray(image) for image in own]), drawn)


@pytest.mark.parametrize("overflows", [True, False])
def test_an_autoencoder_that_overflows_in_float16_decodes_in_float32_as_in_the_pipeline(
    tiny_model: Callable[[str], Path], overflows: bool
) -> None:
    from diffusers import StableDiffusionXLPipeline

    def load() -> Any:
        pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_model("sdxl"), dtype=torch.float16)
        pipeline.vae.register_to_config(force_upcast=overflows)
        return pipeline

    family = StableDiffusionXL([load()], Generation(model="tiny", width=32, height=32, num_inference_steps=2))
    assert family.pipeline.vae.dtype == (torch.float32 if overflows else torch.float16)
    with torch.no_grad():
        latents = family.denoise(TEXTS, [torch.Generator().manual_seed(seed) for seed in SEEDS])
        drawn = family.decode(latents)
    assert latents.dtype == torch.float16
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    own = load()(TEXTS, width=32, height=32, num_inference_steps=2, generator=generators).images
    assert [image.tobytes() for image in own] == [image.tobytes() for image, _ in drawn]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda vae: (vae / "config.json").unlink(), "is no autoencoder: it has no config.json"),
        (
            lambda vae: (vae / "diffusion_pytorch_model.safetensors").rename(vae / "diffusion_pytorch_model.bin"),
            "only pickled weights",
        ),
    ],
)
def test_a_damaged_autoencoder_is_refused(
    make_generator: MakeGenerator, tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    vae = save_tiny_sdxl(tmp_path / "model") / "vae"
    damage(vae)
    with pytest.raises(ModelError, match=sentence):
        make_generator("sdxl", vae={"model": str(vae)}).load()


def save_lora(pipeline: Any, folder: Path, name: str = "pytorch_lora_weights.safetensors", seed: int = 0) -> Path:
    """LoRA weights of rank 2 for the attention of a UNet, as diffusers saves them."""
    from diffusers import StableDiffusionXLPipeline
    from peft import LoraConfig, get_peft_model_state_dict

    unet = pipeline.unet
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"]))
    weights = get_peft_model_state_dict(unet)
    numbers = torch.Generator().manual_seed(seed)
    weights = {key: torch.randn(weight.shape, generator=numbers) for key, weight in weights.items()}
    StableDiffusionXLPipeline.save_lora_weights(folder, unet_lora_layers=weights, weight_name=name)
    return folder


def load_pipeline(folder: Path) -> Any:
    from diffusers import StableDiffusionXLPipeline

    return StableDiffusionXLPipeline.from_pretrained(folder)


def test_lora_weights_are_fused_with_their_scale(
    make_generator: MakeGenerator, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    first = save_lora(load_pipeline(tiny_model("sdxl")), tmp_path / "first", seed=1)
    second = save_lora(load_pipeline(tiny_model("sdxl")), tmp_path / "second", seed=2)
    loras = [{"model": str(first), "scale": 0.5}, {"model": str(second), "scale": 2}]
    generator = make_generator("sdxl", loras=loras)
    generator.load()
    fused = generator._pipelines[0].unet.state_dict()

    from safetensors.torch import load_file

    plain = load_pipeline(tiny_model("sdxl")).unet.state_dict()
    assert fused.keys() == plain.keys()
    changed = {key for key, weight in plain.items() if not torch.equal(weight, fused[key])}
    assert {key.split(".")[-2] for key in changed} == {"to_q", "to_v"}
    name = sorted(changed)[0]
    expected = plain[name].clone()
    for lora in loras:
        weights = load_file(Path(lora["model"]) / "pytorch_lora_weights.safetensors")
        parts = {key.rsplit(".", 2)[-2]: w for key, w in weights.items() if name.removesuffix(".weight") + "." in key}
        expected += lora["scale"] * parts["lora_B"] @ parts["lora_A"]
    assert torch.allclose(fused[name], expected, atol=1e-5)
    assert most_different(draw(generator, TEXTS, SEEDS), draw(make_generator("sdxl"), TEXTS, SEEDS)) > 0


def test_the_preset_lightning_draws_as_its_model_card_says(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    """https://huggingface.co/ByteDance/SDXL-Lightning: LoRA weights in kohya's layout, fused; trailing timesteps."""
    pytest.importorskip("peft")
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
    from safetensors.torch import load_file, save_file

    preset = yaml.safe_load((RECIPES_FOLDER / "presets" / "lightning.yaml").read_text())
    name = preset["loras"][0]["weight_name"]
    folder = save_lora(load_pipeline(tiny_model("sdxl")), tmp_path / "lora", name)
    weights: dict[str, torch.Tensor] = {}
    for key, weight in load_file(folder / name).items():
        module, matrix, _ = key.removeprefix("unet.").rsplit(".", 2)
        module = f"lora_unet_{module.replace('.', '_')}"
        weights[f"{module}.{ {'lora_A': 'lora_down', 'lora_B': 'lora_up'}[matrix] }.weight"] = weight
        weights[f"{module}.alpha"] = torch.tensor(1.0)
    save_file(weights, folder / name)

    tiny = {"variant": None, "vae": None, "width": SIZE, "height": SIZE, "dtype": "float32", "compile": False}
    loras = [{"model": str(folder), "weight_name": name}]
    generator = DiffusersGenerator(
        Generation.model_validate(preset | tiny | {"model": str(tiny_model("sdxl")), "loras": loras, "fuse_qkv": False})
    )
    drawn = draw(generator, TEXTS, SEEDS)
    assert generator.pipelines[0].scheduler.timesteps.tolist() == [999, 749, 499, 249]

    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_model("sdxl"))
    pipeline.set_progress_bar_config(disable=True)

    def own() -> np.ndarray:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in SEEDS]
        images = pipeline(
            TEXTS, num_inference_steps=4, guidance_scale=0, width=SIZE, height=SIZE, generator=generators
        ).images
        return np.stack([np.asarray(image) for image in images])

    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    assert most_different(drawn, own()) > 0
    pipeline.load_lora_weights(str(folder / name))
    pipeline.fuse_lora()
    assert np.array_equal(drawn, own())


def test_lora_weights_that_cannot_be_used_are_refused(
    make_generator: MakeGenerator, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    pipeline = load_pipeline(tiny_model("sdxl"))
    folder = save_lora(pipeline, tmp_path / "lora")
    other = tmp_path / "pickled"
    other.mkdir()
    torch.save({}, other / "pytorch_lora_weights.bin")
    for lora, sentence in (
        ({"model": str(tmp_path / "missing")}, "no such folder of LoRA weights"),
        ({"model": str(other)}, "only pickled weights"),
        ({"model": str(other), "weight_name": "pytorch_lora_weights.bin"}, "safetensors files only"),
        ({"model": str(folder), "weight_name": "other.safetensors"}, "other.safetensors is missing"),
    ):
        with pytest.raises(ModelError, match=sentence):
            make_generator("sdxl", loras=[lora]).load()
    with pytest.raises(ModelError, match="LoRA weights"):
        make_generator("flux", loras=[{"model": str(folder)}]).load()
    shutil.copy(folder / "pytorch_lora_weights.safetensors", folder / "more.safetensors")
    with pytest.raises(ModelError, match=r"has several weight files .* name one as weight_name"):
        make_generator("sdxl", loras=[{"model": str(folder)}]).load()


def test_a_pipeline_without_lora_takes_none(
    make_generator: MakeGenerator, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    folder = save_lora(load_pipeline(tiny_model("sdxl")), tmp_path / "lora")
    with pytest.raises(RecipeError, match=r"generation\.loras: PixArtSigmaPipeline takes none"):
        make_generator("pixart-sigma", loras=[{"model": str(folder)}]).load()


@pytest.mark.parametrize(
    ("backend", "module", "package"),
    [("torchao", "torchao", "torchao"), ("bitsandbytes_8bit", "bitsandbytes", "bitsandbytes")],
)
def test_a_missing_quantization_package_is_named(
    make_generator: MakeGenerator, backend: str, module: str, package: str
) -> None:
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed")
    with pytest.raises(RecipeError, match=f"{backend} needs a package that is not installed: pip install {package}"):
        make_generator("sd3", quantization={"backend": backend}).load()


def test_an_unknown_quantization_backend_is_refused(make_generator: MakeGenerator) -> None:
    with pytest.raises(RecipeError, match="int3 is none of bitsandbytes_4bit"):
        make_generator("sd3", quantization={"backend": "int3"}).load()


@pytest.mark.parametrize("backend", ["torchao", "quanto"])
def test_a_quantized_denoiser_draws_nearly_the_same(make_generator: MakeGenerator, backend: str) -> None:
    kwargs = {"torchao": {"quant_type": "Int8WeightOnlyConfig"}, "quanto": {"weights_dtype": "int8"}}[backend]
    if importlib.util.find_spec({"quanto": "optimum"}.get(backend, backend)) is None:
        pytest.skip(f"the package of {backend} is not installed")
    quantized = make_generator("sd3", quantization={"backend": backend, "kwargs": kwargs})
    difference = draw(quantized, TEXTS, SEEDS).astype(int) - draw(make_generator("sd3"), TEXTS, SEEDS)
    assert 0 < np.abs(difference).mean() < 10


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux", "pixart-sigma"])
def test_fused_projections_draw_the_same(make_generator: MakeGenerator, family: str) -> None:
    fused = make_generator(family, fuse_qkv=True)
    fused.load()
    pipeline = fused._pipelines[0]
    denoiser = getattr(pipeline, "unet", None) or pipeline.transformer
    assert any(getattr(module, "fused_projections", False) for module in denoiser.modules())
    assert most_different(draw(fused, TEXTS, SEEDS), draw(make_generator(family), TEXTS, SEEDS)) <= 1


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
@pytest.mark.long
@pytest.mark.parametrize("family", ["sdxl", "pixart-sigma"])
def test_a_compiled_model_draws_the_same(make_generator: MakeGenerator, family: str) -> None:
    settings = {"num_inference_steps": 1, "guidance_scale": 1}
    compiled = make_generator(family, compile=True, **settings)
    pictures = draw(compiled, TEXTS[:2], SEEDS[:2])
    assert most_different(pictures, draw(make_generator(family, **settings), TEXTS[:2], SEEDS[:2])) <= 2


@pytest.mark.parametrize(("family", "blocks"), [("sd3", 2), ("flux", 2), ("pixart-sigma", 2)])
def test_a_transformer_is_compiled_by_its_blocks(make_generator: MakeGenerator, family: str, blocks: int) -> None:
    generator = make_generator(family, compile=True)
    generator.load()
    assert len(compiled_modules(generator.pipelines[0].transformer)) == blocks


def test_a_unet_and_the_decoder_are_compiled_by_their_blocks(make_generator: MakeGenerator) -> None:
    generator = make_generator("sdxl", compile=True)
    generator.load()
    pipeline = generator.pipelines[0]
    for model in (pipeline.unet, pipeline.vae.decoder):
        compiled = compiled_modules(model)
        assert {type(module).__name__ for module in compiled} <= {"BasicTransformerBlock", "ResnetBlock2D"}
        assert "ResnetBlock2D" in {type(module).__name__ for module in compiled}
    assert "BasicTransformerBlock" in {type(module).__name__ for module in compiled_modules(pipeline.unet)}
    assert not compiled_modules(pipeline.vae.encoder)


def compiled_modules(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [module for module in model.modules() if module._compiled_call_impl is not None]


def test_a_batch_of_large_images_is_decoded_in_parts(
    make_generator: MakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = draw(make_generator("sdxl"), TEXTS, SEEDS)
    monkeypatch.setattr(family_module, "_PIXELS_DECODED_AT_ONCE", SIZE * SIZE * 2)
    generator = make_generator("sdxl")
    latents = generator.denoise(TEXTS, SEEDS)
    decode, decoded = generator.pipelines[0].vae.decode, []

    def counted(part: torch.Tensor, **named: Any) -> Any:
        decoded.append(len(part))
        return decode(part, **named)

    monkeypatch.setattr(generator.pipelines[0].vae, "decode", counted)
    pictures = np.stack([image for image, _ in generator.decode(latents) if image is not None])
    assert decoded == [2, 2]
    assert most_different(pictures, whole) <= 1


def test_what_does_not_fit_the_device_is_decoded_in_parts(make_generator: MakeGenerator) -> None:
    generator = make_generator("sdxl")
    latents = generator.denoise(TEXTS, SEEDS)
    whole = generator.decode(latents)
    sizes: list[int] = []

    def fits_one(_module: Any, inputs: tuple[torch.Tensor]) -> None:
        sizes.append(len(inputs[0]))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError

    generator._pipelines[0].vae.decoder.register_forward_pre_hook(fits_one)
    for _ in range(2):
        parts = generator.decode(latents)
        differences = [most_different(one.image, other.image) for one, other in zip(parts, whole, strict=True)]
        assert max(differences) <= 1
    assert sizes == [4, 2, 1, 1, 1, 1, 1, 1, 1, 1]
