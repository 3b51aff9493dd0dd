"""Pipeline folders of each family: its real classes, tiny, with seeded random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from synthvlm_dagster_tests.conftest import byte_tokenizer, save_tiny_sdxl

SIZE = 32
"""Width and height of their images, in pixels."""
CLIP_CONTEXT = 16
WIDTH = 16


def save_tiny(family: str, folder: Path) -> Path:
    """Write the pipeline folder of a family: sd, sdxl, sd3, flux, pixart-sigma or pixart-alpha."""
    if family == "sdxl":
        return save_tiny_sdxl(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _PIPELINES[family]().save_pretrained(folder)
    return folder


def _clip(*, projection: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=260,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CLIP_CONTEXT,
        projection_dim=WIDTH,
        bos_token_id=258,
        eos_token_id=259,
        pad_token_id=0,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def _t5() -> dict[str, Any]:
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    letters = [("▁", -2.0), *((chr(code), -3.0) for code in range(33, 127))]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters]
    config = T5Config(vocab_size=len(vocabulary), d_model=2 * WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=4)
    return {"encoder": T5EncoderModel(config), "tokenizer": T5Tokenizer(vocab=vocabulary, extra_ids=0)}


def _vae(**changed: Any) -> Any:
    from diffusers import AutoencoderKL

    blocks = changed.pop("blocks", 2)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=(8,) * blocks,
        norm_num_groups=4,
        sample_size=SIZE,
        **changed,
    )


def _stable_diffusion() -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    unet = UNet2DConditionModel(
        sample_size=SIZE // 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=WIDTH,
    )
    unet.conv_out.weight.data *= 10
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    checker = StableDiffusionSafetyChecker(
        CLIPConfig(vision_config={**vision, "image_size": SIZE, "patch_size": 8}, projection_dim=16)
    )
    # No cosine exceeds 1: nothing is refused unless a test lowers it.
    checker.concept_embeds_weights.data[:] = 2
    checker.special_care_embeds_weights.data[:] = 2
    return StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=_clip(),
        tokenizer=byte_tokenizer(CLIP_CONTEXT),
        unet=unet,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=checker,
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}),
    )


def _stable_diffusion_3() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    t5 = _t5()
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=SIZE // 2,
            patch_size=1,
            in_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=2 * WIDTH,
            caption_projection_dim=32,
            pooled_projection_dim=2 * WIDTH,
            out_channels=4,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=_clip(projection=True),
        tokenizer=byte_tokenizer(CLIP_CONTEXT),
        text_encoder_2=_clip(projection=True),
        tokenizer_2=byte_tokenizer(CLIP_CONTEXT),
        text_encoder_3=t5["encoder"],
        tokenizer_3=t5["tokenizer"],
    )


def _flux() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    t5 = _t5()
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=2 * WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=_clip(),
        tokenizer=byte_tokenizer(CLIP_CONTEXT),
        text_encoder_2=t5["encoder"],
        tokenizer_2=t5["tokenizer"],
    )


def _pixart(name: str) -> Any:
    import diffusers

    t5 = _t5()
    return getattr(diffusers, name)(
        transformer=diffusers.PixArtTransformer2DModel(
            sample_size=32,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=2,
            caption_channels=2 * WIDTH,
            in_channels=4,
            cross_attention_dim=16,
            out_channels=8,
            attention_bias=True,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
            use_additional_conditions=False,
        ),
        scheduler=diffusers.DPMSolverMultistepScheduler(),
        # Eight pixels per latent, as in the published models: the table of resolutions begins at 256 pixels.
        vae=_vae(blocks=4),
        text_encoder=t5["encoder"],
        tokenizer=t5["tokenizer"],
    )


_PIPELINES: dict[str, Callable[[], Any]] = {
    "sd": _stable_diffusion,
    "sd3": _stable_diffusion_3,
    "flux": _flux,
    "pixart-sigma": lambda: _pixart("PixArtSigmaPipeline"),
    "pixart-alpha": lambda: _pixart("PixArtAlphaPipeline"),
}
