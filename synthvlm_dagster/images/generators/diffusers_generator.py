"""The generator of a recipe: loads its pipelines when first asked, draws in two steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from synthvlm_dagster.images.generator import Drawn
from synthvlm_dagster.images.generators.hub_cache import bytes_in_hub_cache, cached_commit
from synthvlm_dagster.models.quiet import quiet_models
from synthvlm_dagster.progress import heartbeat
from synthvlm_dagster.recipe import Generation
from synthvlm_dagster.recipe.generation import Lora, Refiner, Vae

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from synthvlm_dagster.images.generators.family import Family


class DiffusersGenerator:
    """Any text-to-image pipeline of diffusers; implements `synthvlm_dagster.images.generator.Generator`.

    The model is loaded when the first image is asked for, from safetensors only and without remote code. float16 is
    hardly implemented on CPUs: there it becomes float32, with a warning, while names and rows keep the recipe's word.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._pipelines: list[DiffusionPipeline] = []
        self._loaded: Family | None = None

    def load(self, on_progress: Callable[[str], None] = lambda _: None) -> float:
        """Load the models, if they are not loaded yet; models of the hub that are not in its cache are fetched first.

        Args:
            on_progress: told before, and every ten seconds while it takes longer, how much has been fetched.

        Returns:
            Seconds that it took, the import of the libraries included; 0 when they were loaded before.

        Raises:
            ModelError: a model is missing, damaged, pickled, no text-to-image pipeline, or cannot be fetched.
            RecipeError: the device, the scheduler or the quantization does not exist here, or the model cannot do what
                the recipe asks of it.
        """
        if self._loaded:
            return 0.0
        began = time.monotonic()
        on_progress(f"loading {self._generation.model}")
        with quiet_models(), heartbeat(lambda: on_progress(f"still loading {self._generation.model}{self._fetched()}")):
            from synthvlm_dagster.images.generators.families import family_of
            from synthvlm_dagster.images.generators.loading import load_pipelines
            from synthvlm_dagster.images.generators.speed import speed_up

            pipelines = load_pipelines(self._generation)
            family = family_of(pipelines, self._generation)
            speed_up(family, self._generation)
        self._pipelines, self._loaded = pipelines, family
        return time.monotonic() - began

    def denoise(self, texts: Sequence[str], seeds: Sequence[int]) -> Any:
        """Latents of one image per text.

        Args:
            texts: captions of any length; `truncated` tells which are not read to their end.
            seeds: as many, each in [0, 2**63). Each image's noise comes from its own CPU generator, so that it does
                not depend on the batch: another batch size gives the same picture within numerical noise.

        Returns:
            What `decode` takes, on the device.

        Raises:
            ModelError: as `load`.
            RecipeError: as `load`; or the pipeline refuses a setting.
            torch.OutOfMemoryError: the batch is too large for the device.
        """
        import torch

        family = self._family()
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        with quiet_models(), torch.no_grad():
            return family.denoise(list(texts), generators)

    def decode(self, latents: Any) -> list[Drawn]:
        """The images of latents from `denoise`, in the same order; see `Generator.decode`.

        Their bytes are those that the pipeline itself gives as PIL images. An image with a value that is not finite, or
        one that the pipeline's safety checker refuses, is a problem instead.
        """
        import torch

        with torch.no_grad():
            return self._family().decode(latents)

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are longer than what the model reads of them.

        Raises:
            ModelError: as `load`.
            RecipeError: as `load`.
        """
        family = self._family()
        with quiet_models():
            return family.truncated(list(texts))

    def peak_memory(self) -> int | None:
        """Most bytes of device memory in use since the last call; None where the device does not count them."""
        import torch

        device = self._family().pipeline.device
        if device.type != "cuda":
            return None
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak

    @property
    def pipelines(self) -> list[DiffusionPipeline]:
        """The diffusers pipelines that draw: the base model's, and the refiner's if there is one.

        Raises:
            ModelError: as `load`.
            RecipeError: as `load`.
        """
        return self._family().pipelines

    def commits(self) -> dict[str, str]:
        """Commit of each model of the hub that was loaded, by hub id; local folders have none."""
        parts = {part.model: cached_commit(part.model, part.revision) for part in self._parts()}
        return {model: commit for model, commit in parts.items() if commit}

    def _fetched(self) -> str:
        """How much of the models the hub's cache has, where one comes from the hub."""
        fetched = sum(bytes_in_hub_cache(part.model) for part in self._parts())
        return f": {fetched / 1e9:.2f} GB are in the cache of the hub" if fetched else ""

    def _parts(self) -> list[Generation | Refiner | Vae | Lora]:
        generation = self._generation
        return [part for part in (generation, generation.refiner, generation.vae, *generation.loras) if part]

    def _family(self) -> Family:
        self.load()
        assert self._loaded is not None
        return self._loaded
