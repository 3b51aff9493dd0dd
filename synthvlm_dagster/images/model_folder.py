"""Is a diffusers model what the recipe needs? Answered without loading it, and without the network."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthvlm_dagster.errors import ModelError, RecipeError, error_reason
from synthvlm_dagster.recipe import Generation, Scheduler
from synthvlm_dagster.recipe.generation import Lora

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WITHOUT_WEIGHTS = ("Tokenizer", "TokenizerFast", "Scheduler", "Processor", "FeatureExtractor", "ProcessorFast")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def check_model(generation: Generation) -> None:
    """Look whether the models and the scheduler that a recipe names can be used.

    Local folders must be whole, with safetensors weights: pipelines, an autoencoder, LoRA weights. Of hub ids only the
    form is looked at.

    Raises:
        ModelError: a model is neither a folder with all its weights nor a hub id.
        RecipeError: diffusers has no such scheduler, the scheduler no such setting, or it refuses its settings or the
            number of steps.
    """
    models = [generation.model, *([generation.refiner.model] if generation.refiner else [])]
    for model in models:
        if is_local(model):
            check_folder(Path(model))
        elif not _HUB_ID.fullmatch(model):
            raise _neither(model)
    if vae := generation.vae:
        check_vae(vae.model)
    for lora in generation.loras:
        check_lora(lora)
    _check_scheduler(generation)


def is_local(model: str) -> bool:
    """Whether a model is a folder of this machine (or is written as one), rather than a hub id."""
    return Path(model).is_absolute() or Path(model).exists()


def check_folder(folder: Path) -> None:
    """Look whether a folder is a diffusers pipeline with every weight file, in safetensors format, complete.

    Raises:
        ModelError: names what is missing, damaged or pickled.
    """
    components = {
        name: value[1]
        for name, value in _model_index(folder).items()
        if isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)
    }
    for name, class_name in components.items():
        if not (folder / name).is_dir():
            raise ModelError(f"{folder}: the component {name} is missing: model_index.json names it, no folder has it")
        if not class_name.endswith(_WITHOUT_WEIGHTS):
            _check_weights(folder / name)


def pipeline_class(folder: Path) -> str:
    """The diffusers class that a pipeline's folder names.

    Raises:
        ModelError: it is not there, or names none.
    """
    return _model_index(folder)["_class_name"]


def _model_index(folder: Path) -> dict[str, Any]:
    index = folder / "model_index.json"
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder. Correct generation.model (or its refiner) in the recipe")
    if not index.is_file():
        raise ModelError(f"{folder}: is no diffusers pipeline: it has no model_index.json")
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        class_name = content.get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{index}: cannot be read as JSON: {error}") from error
    if not isinstance(class_name, str):
        raise ModelError(f"{index}: does not name a diffusers pipeline class under _class_name")
    return content


def check_vae(model: str) -> None:
    """Look whether an autoencoder's folder has its configuration and its weights, in safetensors format, complete.

    Raises:
        ModelError: names what is missing, damaged or pickled.
    """
    folder = Path(model)
    if not is_local(model):
        if not _HUB_ID.fullmatch(model):
            raise _neither(model)
        return
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: is no autoencoder: it has no config.json. Correct generation.vae in the recipe")
    _check_weights(folder)


def check_lora(lora: Lora) -> None:
    """Look whether LoRA weights are one complete safetensors file with tensors that are named as such.

    Raises:
        ModelError: names what is missing, damaged or pickled, or says that the file must be named.
    """
    from safetensors import safe_open

    name = lora.weight_name
    if name and not name.endswith(".safetensors"):
        raise ModelError(f"{lora.model}: LoRA weights are read from safetensors files only, which {name} is not")
    if not is_local(lora.model):
        if not _HUB_ID.fullmatch(lora.model):
            raise _neither(lora.model)
        return
    folder = Path(lora.model)
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder of LoRA weights. Correct generation.loras in the recipe")
    _check_weights(folder)
    files = sorted(file.name for file in folder.glob("*.safetensors"))
    if name and name not in files:
        raise ModelError(f"{folder}: the weight file {name} is missing")
    if not name and len(files) > 1:
        raise ModelError(f"{folder}: has several weight files ({', '.join(files)}); name one as weight_name")
    with safe_open(folder / (name or files[0]), framework="np") as weights:
        if not any("lora" in tensor.lower() for tensor in weights.keys()):  # noqa: SIM118 - it is no dictionary
            raise ModelError(f"{folder / (name or files[0])}: holds no LoRA weights. Correct generation.loras")


def build_scheduler(scheduler: Scheduler, models_own: Mapping[str, Any]) -> Any:
    """The scheduler that a recipe puts in the place of a model's own.

    Args:
        scheduler: its diffusers class and what is changed.
        models_own: configuration of the model's own scheduler, from which the rest is taken.

    Raises:
        RecipeError: diffusers has no such scheduler, the scheduler no such setting (gives the nearest names), or it
            refuses a setting.
    """
    import inspect

    import diffusers

    names = [name for name in dir(diffusers) if name.endswith("Scheduler") and not name.startswith("Flax")]
    if scheduler.name not in names:
        raise RecipeError(
            f"generation.scheduler.name: diffusers {diffusers.__version__} has no {scheduler.name}"
            + _suggestion(scheduler.name, names)
        )
    found = getattr(diffusers, scheduler.name)
    settings = list(inspect.signature(found).parameters)
    for key in scheduler.config:
        if key not in settings:
            raise RecipeError(
                f"generation.scheduler.config.{key}: {scheduler.name} has no such setting{_suggestion(key, settings)}"
            )
    try:
        return found.from_config(models_own, **scheduler.config)
    # Each scheduler refuses in its own way.
    except Exception as error:
        raise _refuses(scheduler, error) from error


def check_steps(scheduler: Any, generation: Generation) -> None:
    """Let a scheduler lay out its denoising steps, which is where most of its settings are first used.

    Raises:
        RecipeError: it refuses.
    """
    if scheduler.config.get("use_dynamic_shifting"):  # its steps depend on the size of the image
        return
    steps = generation.num_inference_steps
    try:
        scheduler.set_timesteps(steps)
    except Exception as error:
        chosen = generation.scheduler or Scheduler(name=type(scheduler).__name__)
        raise _refuses(chosen, error, f" with num_inference_steps {steps}") from error


def _check_scheduler(generation: Generation) -> None:
    own = _own_scheduler(Path(generation.model)) if is_local(generation.model) else None
    if own is None:
        # The model's own settings are not known before it is fetched.
        if generation.scheduler:
            build_scheduler(generation.scheduler, {})
        return
    name, config = own
    check_steps(build_scheduler(generation.scheduler or Scheduler(name=name), config), generation)


def _own_scheduler(folder: Path) -> tuple[str, dict[str, Any]] | None:
    """Class and configuration of a model's scheduler; None: it has none of diffusers' own."""
    file = folder / "scheduler" / "scheduler_config.json"
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        return config["_class_name"], config
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file}: does not describe a scheduler: {error}") from error


def _refuses(scheduler: Scheduler, error: Exception, steps: str = "") -> RecipeError:
    settings = ", ".join(f"{key}: {value}" for key, value in scheduler.config.items()) or "the settings"
    return RecipeError(f"generation.scheduler: {scheduler.name} refuses {settings}{steps}: {error_reason(error)}")


def _neither(model: str) -> ModelError:
    return ModelError(f"{model}: is neither a folder nor a hub id such as org/model")


def _check_weights(component: Path) -> None:
    from safetensors import SafetensorError, safe_open

    weights = sorted(component.glob("*.safetensors"))
    if not weights:
        pickled = sorted(file.name for file in component.iterdir() if file.suffix in _PICKLED)
        if pickled:
            raise ModelError(
                f"{component}: has only pickled weights ({', '.join(pickled)}), which can run code when loaded. "
                "Convert them with save_pretrained(..., safe_serialization=True)"
            )
        raise ModelError(f"{component}: has no weight file (*.safetensors)")
    for index in component.glob("*.safetensors.index*.json"):
        try:
            parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{index}: cannot be read: {error}") from error
        if lost := sorted(parts - {file.name for file in weights}):
            raise ModelError(f"{component}: the weight file {lost[0]} is missing")
    for file in weights:
        try:
            with safe_open(file, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file}: is no complete safetensors file: {error}") from error


def _suggestion(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=2)
    return f"; did you mean {' or '.join(near)}?" if near else f"; known are {', '.join(known)}"
