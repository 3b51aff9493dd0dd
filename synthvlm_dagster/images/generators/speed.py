"""What makes a loaded model faster and leaves its pictures as they are, up to numerical noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synthvlm_dagster.recipe import Generation

if TYPE_CHECKING:
    from synthvlm_dagster.images.generators.family import Family

_UNET_BLOCKS = ("BasicTransformerBlock", "ResnetBlock2D")
_MOST_SHAPES = 256
"""Shapes that the code of one block may be compiled for; a UNet's residual blocks alone have a dozen."""


def speed_up(family: Family, generation: Generation) -> None:
    """Fuse and compile the denoisers of a family's pipelines, and their autoencoders' decoders, as the recipe asks.

    Only the blocks that a model repeats are compiled: blocks alike share one graph. docs/performance.md has what it
    gives. What is made of convolutions is laid out channels-last, as they want it. Shapes are static: every batch size
    gets its own graphs. LoRA weights must have been fused before.
    """
    import torch

    compiled: set[int] = set()
    for pipeline in family.pipelines:
        unet, transformer = getattr(pipeline, "unet", None), getattr(pipeline, "transformer", None)
        if generation.fuse_qkv:
            _fuse_qkv(unet or transformer)
        if not generation.compile:
            continue
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_SHAPES)
        if unet is not None:
            compile_unet_blocks(unet)
        elif transformer is not None:
            _compile_blocks(transformer)
        decoder = getattr(getattr(pipeline, "vae", None), "decoder", None)
        # A refiner decodes with the base model's autoencoder.
        if decoder is not None and id(decoder) not in compiled:
            compiled.add(id(decoder))
            compile_unet_blocks(decoder)


def _fuse_qkv(denoiser: Any) -> None:
    if hasattr(denoiser, "fuse_qkv_projections"):
        denoiser.fuse_qkv_projections()


def compile_unet_blocks(model: Any) -> None:
    """Compile the transformer and residual blocks of a UNet, or of an autoencoder's decoder."""
    import torch

    blocks = [module for module in model.modules() if type(module).__name__ in _UNET_BLOCKS]
    if blocks:
        model.to(memory_format=torch.channels_last)
    for block in blocks:
        block.compile(dynamic=False)


def _compile_blocks(transformer: Any) -> None:
    if transformer._repeated_blocks:
        transformer.compile_repeated_blocks(dynamic=False)
        return
    import torch

    for blocks in transformer.children():
        if isinstance(blocks, torch.nn.ModuleList):
            for block in blocks:
                block.compile(dynamic=False)
