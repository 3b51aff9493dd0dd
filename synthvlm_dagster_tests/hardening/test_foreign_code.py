"""Models, tokenizers and datasets that bring code of their own: none of it runs, and the error says why."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import synthvlm_dagster
from synthvlm_dagster.errors import ModelError, RecipeError
from synthvlm_dagster.images.generators.loading import load_pipelines
from synthvlm_dagster.images.generators.lora import fuse_loras
from synthvlm_dagster.models.open_clip import check_open_clip, load_open_clip
from synthvlm_dagster.models.transformers import load_transformers_model
from synthvlm_dagster.recipe import Generation
from synthvlm_dagster.recipe.generation import Lora
from synthvlm_dagster.scores.judges.aesthetic import read_head

MODELS = Path(synthvlm_dagster.__file__).parent / "demo" / "models"


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path):
    """What foreign code would make; it must not be there in the end."""
    mark = tmp_path / "code-was-run"
    yield mark
    assert not mark.exists()


def pickled(mark: Path) -> bytes:
    return pickle.dumps({"weight": Evil(mark)})


def torch_pickled(mark: Path) -> bytes:
    """As torch.save writes it since 1.6: a zip archive with a pickle inside."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(mark))
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


@pytest.fixture(params=[pickled, torch_pickled])
def weights(request: pytest.FixtureRequest, mark: Path) -> bytes:
    return request.param(mark)


def copy(name: str, to: Path) -> Path:
    return Path(shutil.copytree(MODELS / name, to))


def code(mark: Path) -> str:
    return f"import os\nos.mkdir({str(mark)!r})\n"


def load_clip(model: object, pretrained: str | None = None) -> None:
    import torch

    load_open_clip(str(model), pretrained, "float32", torch.device("cpu"), "scoring.clip")


def generation(model: object, **changed: object) -> Generation:
    settings = {"model": str(model), "device": "cpu", "dtype": "float32", "width": 64, "height": 64}
    return Generation.model_validate(settings | changed)


def test_the_pickle_is_dangerous(tmp_path: Path) -> None:
    pickle.loads(pickled(tmp_path / "made"))
    assert (tmp_path / "made").is_dir()


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder"])
def test_a_pipeline_with_pickled_weights(component: str, tmp_path: Path, weights: bytes) -> None:
    folder = copy("shapes-sdxl", tmp_path / "model")
    for file in (folder / component).glob("*.safetensors"):
        file.with_suffix(".bin").write_bytes(weights)
        file.unlink()
    with pytest.raises(ModelError, match=rf"{component}: has only pickled weights .*Convert them with save_pretrained"):
        load_pipelines(generation(folder))


def test_other_parts_of_a_pipeline(tmp_path: Path, weights: bytes) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "config.json").write_text("{}")
    (tmp_path / "part" / "weights.bin").write_bytes(weights)
    model = MODELS / "shapes-sdxl"
    with pytest.raises(ModelError, match="only pickled weights"):
        load_pipelines(generation(model, vae={"model": str(tmp_path / "part")}))
    with pytest.raises(ModelError, match="only pickled weights"):
        load_pipelines(generation(model, loras=[{"model": str(tmp_path / "part")}]))
    with pytest.raises(ModelError, match="LoRA weights are read from safetensors files only"):
        load_pipelines(generation(model, loras=[{"model": str(tmp_path / "part"), "weight_name": "weights.bin"}]))
    with pytest.raises(ModelError, match="cannot be loaded as LoRA weights"):
        # As from the hub, where nothing is looked at before.
        fuse_loras(
            load_pipelines(generation(model))[0], [Lora(model=str(tmp_path / "part"), weight_name="weights.bin")]
        )


@pytest.mark.parametrize("place", ["pipeline", "component"])
def test_a_pipeline_with_code_of_its_own(place: str, tmp_path: Path, mark: Path) -> None:
    folder = copy("shapes-sdxl", tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    if place == "pipeline":
        (folder / "evil.py").write_text(code(mark))
        (folder / "pipeline.py").write_text(code(mark))
        index["_class_name"] = ["evil", "Pipeline"]
    else:
        (folder / "unet" / "evil.py").write_text(code(mark))
        index["unet"] = ["evil", "Model"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises((ModelError, RecipeError)):
        load_pipelines(generation(folder))


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "model.pth", "weights.pt"])
def test_an_open_clip_folder_with_pickled_weights(name: str, tmp_path: Path, weights: bytes) -> None:
    folder = copy("shapes-clip", tmp_path / "model")
    next(folder.glob("*.safetensors")).unlink()
    (folder / name).write_bytes(weights)
    for look in (lambda: check_open_clip(str(folder), None, "scoring.clip"), lambda: load_clip(folder)):
        with pytest.raises(ModelError, match=rf"{name} is pickled, which can run code when loaded. Convert it"):
            look()


def test_an_open_clip_folder_where_pickled_weights_come_first(tmp_path: Path, weights: bytes) -> None:
    """open_clip prefers some names to others, and this .bin to that .safetensors."""
    folder = copy("shapes-clip", tmp_path / "model")
    next(folder.glob("*.safetensors")).rename(folder / "another.safetensors")
    (folder / "open_clip_pytorch_model.bin").write_bytes(weights)
    with pytest.raises(ModelError, match=r"scoring\.clip\.model: .* cannot be loaded"):
        load_clip(folder)


def test_a_pickled_weight_file_of_an_open_clip_architecture(tmp_path: Path, weights: bytes) -> None:
    (tmp_path / "weights.pt").write_bytes(weights)
    with pytest.raises(ModelError, match=r"scoring\.clip\.pretrained: .*weights\.pt is pickled"):
        load_clip("RN50", str(tmp_path / "weights.pt"))


def test_an_open_clip_model_whose_tokenizer_brings_code(tmp_path: Path, mark: Path) -> None:
    folder = copy("shapes-clip", tmp_path / "model")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}})
    )
    (folder / "evil.py").write_text(code(mark))
    with pytest.raises(
        ModelError, match=r"tokenizer that brings code of its own \(trust_remote_code\), which is never run"
    ):
        load_clip(folder)


def test_an_open_clip_model_of_the_hub_whose_tokenizer_brings_code(tmp_path: Path, mark: Path, monkeypatch) -> None:
    import huggingface_hub

    config = {"model_cfg": {"text_cfg": {"hf_tokenizer_name": "a/b", "tokenizer_kwargs": {"trust_remote_code": True}}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(tmp_path / "config.json"))
    with pytest.raises(ModelError, match="brings code of its own"):
        load_clip("hf-hub:someone/model")


def test_transformers_models_with_pickled_weights_or_code(tmp_path: Path, weights: bytes, mark: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(weights)
    (folder / "evil.py").write_text(code(mark))
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "vocab_size": 8}
    for config in (
        {"model_type": "gpt2", **sizes},
        {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}},
        {"model_type": "gpt2", **sizes, "auto_map": {"AutoModelForCausalLM": "evil.Model"}},
    ):
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError, match=r"field: .* cannot be loaded"):
            load_transformers_model(str(folder), None, "field", (AutoModelForCausalLM, AutoTokenizer), "language model")


def test_an_aesthetic_predictor_that_is_pickled(tmp_path: Path, weights: bytes) -> None:
    (tmp_path / "head.pth").write_bytes(weights)
    with pytest.raises(ModelError, match=r"head\.pth: cannot be read as safetensors"):
        read_head(str(tmp_path / "head.pth"))


def test_no_module_of_the_package_loads_pickles() -> None:
    risky = re.compile(
        r"torch\.load\(|\bpickle\b\.|cloudpickle|joblib\.load|allow_pickle=True|trust_remote_code=True|"
        r"custom_pipeline=|use_safetensors=False|weights_only=False|yaml\.(unsafe_|full_)?load\(|\beval\(|\bexec\(|os\.system|shell=True"
    )
    root = Path(synthvlm_dagster.__file__).parent
    found = [
        f"{file.relative_to(root)}: {line.strip()}"
        for file in root.rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if risky.search(line) and "weights_only=True" not in line and ".eval()" not in line
    ]
    assert found == []
