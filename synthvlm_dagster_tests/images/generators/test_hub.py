"""Models of the hub: downloaded over HTTP, as safetensors, and known by their commit."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from synthvlm_dagster_tests.images.generators.hub_server import serve_hub
from synthvlm_dagster_tests.images.generators.test_settings import load_pipeline, save_lora

MODEL = "tiny/sdxl"
COMMIT = "ab" * 20
LORA = "sdxl_lightning_4step_lora.safetensors"

# The hub's address is read when huggingface_hub is imported, hence another process; imports cost most, hence one.
LOAD_EACH = textwrap.dedent("""
    import json, sys
    from synthvlm_dagster.errors import SynthVLMError
    from synthvlm_dagster.images.generators import DiffusersGenerator
    from synthvlm_dagster.recipe import Generation

    for settings in sys.argv[1:]:
        generator = DiffusersGenerator(Generation.model_validate_json(settings))
        said = []
        try:
            generator.load(said.append)
        except SynthVLMError as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        else:
            [image] = generator.decode(generator.denoise(["a circle"], [1]))
            found = {
                "said_first": said[0],
                "commits": generator.commits(),
                "in_cache": generator._fetched(),
                "shape": image.image.shape,
            }
        print(json.dumps(found))
""")


def test_the_hubs_models_are_downloaded_once_without_pickled_weights_and_known_by_their_commit(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_model("sdxl"), tmp_path / "repository")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickled")
    settings = {"model": MODEL, "width": 32, "height": 32, "dtype": "float32", "num_inference_steps": 1}
    save_lora(load_pipeline(folder), folder, LORA)
    save_lora(load_pipeline(folder), folder, "other_lora.safetensors")
    asked = [
        {},
        {"revision": COMMIT},
        {"loras": [{"model": MODEL, "weight_name": LORA}]},
        {"revision": "no-such-tag"},
        {"model": "tiny/absent"},
    ]
    with serve_hub(MODEL, folder, commit=COMMIT) as hub:
        outcome = subprocess.run(
            [sys.executable, "-c", LOAD_EACH, *(json.dumps(settings | changed) for changed in asked)],
            env=os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub")},
            capture_output=True,
            text=True,
            check=True,
        )
    newest, pinned, with_lora, no_revision, no_model = map(json.loads, outcome.stdout.splitlines())

    assert newest["shape"] == [32, 32, 3]
    assert newest["said_first"] == f"loading {MODEL}"
    assert newest["commits"] == {MODEL: COMMIT}
    assert "GB are in the cache of the hub" in newest["in_cache"]
    assert pinned == newest
    assert with_lora["commits"] == {MODEL: COMMIT}
    assert [name for name in hub.fetched if "lora" in name] == [LORA]
    assert "unet/diffusion_pytorch_model.safetensors" in hub.fetched
    assert len(hub.fetched) == len(set(hub.fetched))
    assert not [name for name in hub.fetched if name.endswith(".bin")]
    for found, model in ((no_revision, MODEL), (no_model, "tiny/absent")):
        assert found["error"].startswith(f"ModelError: {model}: cannot be loaded")
        assert "Check the id and revision" in found["error"]
        assert "\n" not in found["error"]
