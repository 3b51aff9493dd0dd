"""The benchmarks run, in little; what they measure is not looked at, except for what a clock has no part in."""

import importlib
import json
import runpy
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import open_clip
import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are in the repository alone")


Synthesis = Callable[..., dict[str, list[dict[str, Any]]]]


@pytest.fixture
def random_sdxl(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("random_sdxl")


@pytest.fixture
def synthesis(random_sdxl: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Synthesis:
    """Runs the benchmark as a command would, with four images; returns its figures."""

    def run(*options: str) -> dict[str, list[dict[str, Any]]]:
        figures = tmp_path / "figures.json"
        settings = ["--device", "cpu", "--images", "4", "--repeats", "1", "--json", str(figures)]
        monkeypatch.setattr("sys.argv", ["synthesis.py", *settings, *options])
        runpy.run_path(str(BENCHMARKS / "synthesis.py"), run_name="__main__")
        return json.loads(figures.read_text(encoding="utf-8"))["rounds"]

    return run


def test_synthesis_of_the_demo(synthesis: Synthesis, capsys: pytest.CaptureFixture[str]) -> None:
    rounds = synthesis("--steps", "2", "--loops", "official", "paper")
    assert "times official" in capsys.readouterr().out
    for measured in rounds.values():
        assert (measured[0]["images"], measured[0]["unusable"]) == (4, 0)
        assert measured[0]["evaluations"] == 4
        assert 0 < measured[0]["idle"] < 1


@pytest.mark.long
def test_synthesis_with_a_refiner_of_random_weights(
    random_sdxl: ModuleType, synthesis: Synthesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = {
        "layers_per_block": 1,
        "block_out_channels": (32, 32, 32),
        "transformer_layers_per_block": 1,
        "attention_head_dim": 1,
    }
    width = 16
    time_ids = {"base": 6, "refiner": 5}
    text = {"hidden_size": width, "intermediate_size": width, "num_hidden_layers": 2, "num_attention_heads": 1}
    changes = {
        "BASE_UNET": narrow | {"cross_attention_dim": 2 * width},
        "REFINER_UNET": narrow | {"cross_attention_dim": width, "block_out_channels": (64, 64, 64, 64)},
        "VAE": {"layers_per_block": 1, "block_out_channels": (32, 32, 32, 32)},
        "FIRST_TEXT_ENCODER": text,
        "SECOND_TEXT_ENCODER": text | {"projection_dim": width},
    }
    for name in ("base", "refiner"):
        changes[f"{name.upper()}_UNET"] |= {
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": time_ids[name] * 8 + width,
        }
    for name, change in changes.items():
        monkeypatch.setattr(random_sdxl, name, getattr(random_sdxl, name) | change)
    random_sdxl.save_random_sdxl(tmp_path / "models")

    models = ["--model", str(tmp_path / "models"), "--size", "64", "--one-at-a-time-images", "1"]
    rounds = synthesis(*models, "--steps", "10", "--generation", "{batch_size: 2}")
    # The refiner as the official loop calls it begins at 0.3 of the noise and leaves 0.2: one of ten steps, not two.
    evaluations = {loop: measured[0]["evaluations"] for loop, measured in rounds.items()}
    assert evaluations == {"official": 18, "handover": 20, "paper": 20, "paper-fast": 6, "few-steps": 1}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1))
def test_time_that_intervals_cover_is_counted_once(spans: list[tuple[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(BENCHMARKS))
        covered = importlib.import_module("synthesis").covered
    moments = {moment for begin, length in spans for moment in range(begin, begin + length)}
    assert covered([(begin, begin + length) for begin, length in spans]) == len(moments)


@pytest.mark.parametrize(("name", "parameters"), [("BASE_UNET", 2_567_463_684), ("REFINER_UNET", 2_259_526_660)])
def test_random_weights_are_as_many_as_the_published_ones(random_sdxl: ModuleType, name: str, parameters: int) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**getattr(random_sdxl, name))
    assert sum(parameter.numel() for parameter in unet.parameters()) == parameters


def test_the_tokenizer_of_random_weights_is_that_of_clip(random_sdxl: ModuleType) -> None:
    text = "A photo of 3 naïve cats, sitting in 北京"
    tokens = random_sdxl.clip_tokenizer(pad_token="!")(text, padding="max_length").input_ids
    assert tokens == open_clip.tokenize(text)[0].tolist()


def test_scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "figures.json"
    little = ["--sides", "64", "--images", "4", "--side", "64", "--rounds", "1", "--models", "demo"]
    monkeypatch.setattr("sys.argv", ["scoring.py", *little, "--json", str(figures)])
    runpy.run_path(str(BENCHMARKS / "scoring.py"), run_name="__main__")
    assert "times official" in capsys.readouterr().out
    measured = json.loads(figures.read_text(encoding="utf-8"))
    assert all(row["difference"] < 1e-12 for row in measured["ssim"])
    [clip] = measured["clip"]
    assert clip["difference"] < 1e-5
    assert clip["mean_score"] > 0.3
    assert clip["difference_from_cpu"] == 0
    assert set(clip["images_per_second"]) == {
        "official",
        "one by one",
        "package",
        "official, tensors",
        "package, tensors",
    }


def test_reproducibility(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = tmp_path / "figures.json"
    little = ["--device", "cpu", "--images", "2", "--batch", "2", "--sizes", "1", "--generation"]
    monkeypatch.setattr("sys.argv", ["reproducibility.py", *little, "{num_inference_steps: 1}", "--json", str(figures)])
    runpy.run_path(str(BENCHMARKS / "reproducibility.py"), run_name="__main__")
    found = json.loads(figures.read_text(encoding="utf-8"))
    for dtype in ("float32", "float16"):
        assert found[dtype]["same_files"]
        assert found[dtype]["files"] == 1
        assert found[dtype]["sizes"]["1"]["pixel"] <= 2


def test_measurements_on_a_gpu_go_on_where_they_were_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    gpu = importlib.import_module("gpu")
    script = tmp_path / "stage.py"
    script.write_text(
        "import pathlib, sys, time\npathlib.Path(sys.argv[-1]).write_text('{}')\ntime.sleep(60 * int(sys.argv[1]))\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(gpu, "stages", lambda _: [("bad", [str(script), "1"], 5), ("good", [str(script), "0"], 5)])
    monkeypatch.setattr("sys.argv", ["gpu.py", str(tmp_path / "figures")])
    with pytest.raises(SystemExit, match="still to be measured: bad"):
        gpu.main()
    assert {file.name for file in (tmp_path / "figures").glob("*.json")} == {"good.json", "bad.unfinished.json"}
    monkeypatch.setattr(gpu, "stages", lambda _: [("bad", [str(script), "0"], 5), ("good", ["gone.py"], 5)])
    capsys.readouterr()
    gpu.main()
    assert capsys.readouterr().out.splitlines() == ["bad: at most 5 s ...", "good: measured before"]


def test_selection_gives_the_rows_that_other_engines_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engines = ["synthvlm_dagster", *(name for name in ("duckdb", "pandas") if find_spec(name))]
    settings = ["--rows", "20000", "--repeats", "1", "--folder", str(tmp_path), "--engines", *engines]
    monkeypatch.setattr("sys.argv", ["selection.py", *settings])
    runpy.run_path(str(BENCHMARKS / "selection.py"), run_name="__main__")
    assert capsys.readouterr().out.count("the same 200 rows as synthvlm_dagster") == len(engines) - 1


@pytest.mark.long
def test_backfill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "figures.json"
    little = ["--shards", "2", "--shards-per-run", "2", "--images-per-shard", "1", "--steps", "1"]
    monkeypatch.setattr("sys.argv", ["backfill.py", *little, "--variants", "package", "--json", str(figures)])
    runpy.run_path(str(BENCHMARKS / "backfill.py"), run_name="__main__")
    assert "overhead" in capsys.readouterr().out
    measured = json.loads(figures.read_text(encoding="utf-8"))["package"]
    assert (measured["runs"], measured["shards"], measured["images"]) == (1, 2, 1)
    assert 0 < measured["work_seconds"] < measured["wall_seconds"]
