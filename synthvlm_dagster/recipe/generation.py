"""How images are made of captions."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal

from pydantic import Field, model_validator

from synthvlm_dagster.recipe.section import Location, ModelName, Section

GeneratorFamily = Literal["auto", "sdxl", "sdxl-turbo", "sd3", "flux", "pixart-sigma"]


class Scheduler(Section):
    """A diffusers scheduler put in the place of the model's own."""

    name: str = Field(description="Class name in diffusers, e.g. DPMSolverMultistepScheduler.")
    config: dict[str, Any] = Field(default_factory=dict, description="Settings changed from the model's scheduler.")


class Refiner(Section):
    """A second SDXL model that takes over the end of the denoising."""

    model: ModelName = Field(description="Hub id or folder of a StableDiffusionXLImg2ImgPipeline.")
    revision: str | None = Field(None, description="Hub revision (commit hash or tag).")
    variant: str | None = Field(None, description="Weight file variant, e.g. fp16.")
    handover: float = Field(
        0.8, gt=0, lt=1, description="Share of the steps done by the base model (`denoising_end`/`denoising_start`)."
    )


class Vae(Section):
    """An autoencoder put in the place of the model's own, e.g. madebyollin/sdxl-vae-fp16-fix."""

    model: ModelName = Field(description="Hub id or folder of an AutoencoderKL.")
    revision: str | None = Field(None, description="Hub revision (commit hash or tag).")


class Lora(Section):
    """LoRA weights fused into the model."""

    model: ModelName = Field(description="Hub id or folder of LoRA weights in safetensors.")
    revision: str | None = Field(None, description="Hub revision (commit hash or tag).")
    weight_name: str | None = Field(None, description="File of the weights, where the repository has several.")
    scale: float = Field(1.0, description="How strongly the weights are mixed in.")


class Quantization(Section):
    """A quantization of the model's weights, as diffusers' PipelineQuantizationConfig takes it."""

    backend: str = Field(
        description="diffusers' quant_backend: bitsandbytes_4bit, bitsandbytes_8bit, torchao or quanto."
    )
    kwargs: dict[str, Any] = Field(default_factory=dict, description="diffusers' quant_kwargs.")
    components: tuple[str, ...] | None = Field(
        None, description="Which of the model's components, e.g. transformer and text_encoder_3; null: the denoiser."
    )


class ContentCredentials(Section):
    """Signing of every image file as C2PA says; needs the extra `c2pa`. Signed files are never equal byte for byte.

    Images that are signed otherwise, or not, are another generator's: a recipe that begins to sign makes its own.
    """

    certificate: Location = Field(description="PEM file of the signer's certificate and those that vouch for it.")
    private_key: Location = Field(description="PEM file of the certificate's key (PKCS#8, not encrypted).")
    algorithm: Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"] = Field(
        "es256", description="Signature algorithm of the key."
    )
    time_stamp_url: str | None = Field(
        None, description="RFC 3161 time stamp service, asked once per image; null: signatures carry no time."
    )


class Generation(Section):
    """The diffusion model and its parameters, under diffusers' names (SynthVLM §3.2)."""

    preset: Literal["paper", "paper-fast", "lightning", "turbo"] | None = Field(
        None, description="A fragment that this section starts from; what is written here comes over it."
    )
    generator: GeneratorFamily = Field(
        "auto", description="Family of the model, with its own limits and speed-ups; `auto` looks at the pipeline."
    )
    model: ModelName = Field(
        description="Hub id, folder, or `package://module/path` of a diffusers text-to-image pipeline."
    )
    revision: str | None = Field(
        None, description="Hub revision (commit hash or tag); pin it to make images repeatable."
    )
    variant: str | None = Field(None, description="Weight file variant, e.g. fp16.")
    refiner: Refiner | None = Field(None, description="SDXL refiner; null: the base model does every step.")
    vae: Vae | None = Field(None, description="null: the autoencoder the model comes with.")
    loras: tuple[Lora, ...] = Field((), description="LoRA weights, fused in this order.")
    quantization: Quantization | None = Field(None, description="null: weights in `dtype`.")
    scheduler: Scheduler | None = Field(None, description="null: the scheduler the model comes with.")
    num_inference_steps: int = Field(50, ge=1, le=1000, description="Denoising steps.")
    guidance_scale: float = Field(5.0, ge=0, le=100, description="Classifier-free guidance scale; ≤ 1 switches it off.")
    guidance_rescale: float = Field(0.0, ge=0, le=1, description="Rescaling of the guided noise (arXiv 2305.08891).")
    guidance_end: float = Field(
        1.0, gt=0, le=1, description="Share of the steps after which classifier-free guidance is switched off."
    )
    negative_prompt: str | None = Field(None, description="What the image should not show; null: the empty prompt.")
    long_prompts: Literal["truncate", "chunk"] = Field(
        "truncate",
        description="Captions beyond the text encoder's context (77 tokens of CLIP): cut off, or encoded in chunks.",
    )
    width: int = Field(1024, ge=8, le=8192, multiple_of=8, description="Image width in pixels.")
    height: int = Field(1024, ge=8, le=8192, multiple_of=8, description="Image height in pixels.")
    dtype: Literal["float32", "float16", "bfloat16"] = Field("float16", description="Precision of weights and maths.")
    device: str = Field("auto", description="torch device; `auto` takes a free cuda GPU when there is one, else cpu.")
    compile: bool = Field(
        False,
        description="torch.compile the denoiser, and SDXL's decoder: a minute or two at the first batch, then faster.",
    )
    fuse_qkv: bool = Field(False, description="Fuse the projections of attention, where the model can.")
    batch_size: int = Field(
        8, ge=1, le=1024, description="Images denoised together; halved when the device runs out of memory."
    )
    images_per_chunk: int = Field(
        256, ge=1, description="Images written to the store at a time: what a kill can cost at most."
    )
    retries: int = Field(
        2, ge=0, le=9, description="New seeds tried for an image that comes out black, flat, not finite or refused."
    )
    image_format: Literal["png", "jpeg", "webp"] = Field("jpeg", description="How images are stored.")
    image_quality: int = Field(95, ge=1, le=100, description="jpeg and webp quality.")
    licence: str | None = Field(None, description="Licence of the model, stated in what is published.")
    accept_licence: str | None = Field(
        None, description="Name of a licence that restricts training on the model's output, once you have agreed to it."
    )
    content_credentials: ContentCredentials | None = Field(
        None, description="null: images are marked as synthetic in their metadata, but not signed."
    )
    price_per_gpu_hour: float | None = Field(None, ge=0, description="For the costs in plan and metadata, in dollars.")

    @property
    def hub_revision(self) -> str | None:
        """`revision`, where the model is one of the hub; of a folder it says nothing, and changes nothing."""
        return None if PurePath(self.model).is_absolute() else self.revision

    @model_validator(mode="after")
    def _only_sdxl_hands_over(self) -> Generation:
        if self.refiner and self.generator not in ("auto", "sdxl"):
            raise ValueError(f"refiner: only SDXL hands over to a refiner, generator is {self.generator}")
        return self
