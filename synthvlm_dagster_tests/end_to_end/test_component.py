"""Two datasets in one Dagster project of somebody else, made by Dagster's own commands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import dagster as dg
import pytest
import yaml

from synthvlm_dagster.component import ScaffoldSettings, SynthVLMDatasetScaffolder
from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import load_recipe

COMPONENT = "synthvlm_dagster.component.SynthVLMDataset"
# Of the demo: enough for two shards, and for a second or two of drawing.
SMALLER = {"max_captions: 240": "max_captions: 6", "per_caption: 4": "per_caption: 1", "shards: 4": "shards: 2"}


class Workplace:
    """A folder in which a person types commands; its project is found as if it were installed."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "pairs"
        self.home = folder / "home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        commands = Path(sys.executable).parent
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("SYNTHVLM_")} | {
            "DAGSTER_HOME": str(self.home),
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(commands.parent),
            "PYTHONPATH": os.pathsep.join([str(self.project / "src"), *filter(None, sys.path)]),
        }

    def type(self, *command: str) -> str:
        """Run a command in the project, or beside it while there is none; returns what it printed."""
        place = self.project if self.project.is_dir() else self.project.parent
        done = subprocess.run(
            command,
            cwd=place,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def recipe(self, name: str) -> Path:
        return self.project / "src" / "pairs" / "defs" / name / "recipe.yaml"

    def tables(self, name: str) -> set[str]:
        """Tables of a dataset's store."""
        store = self.home.parent / "storage" / name
        return {path.relative_to(store).as_posix() for path in store.glob("*/*") if path.is_dir()}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    workplace = Workplace(tmp_path_factory.mktemp("workplace"))
    workplace.type("create-dagster", "project", "--no-uv-sync", "pairs")
    for name in ("fast", "slow"):
        workplace.type("dg", "scaffold", "defs", COMPONENT, name, "--template", "demo")
        recipe = workplace.recipe(name)
        text = recipe.read_text()
        for old, new in SMALLER.items():
            assert old in text
            text = text.replace(old, new)
        steps = "num_inference_steps: 1" if name == "fast" else "num_inference_steps: 2"
        recipe.write_text(text.replace("num_inference_steps: 12", steps))
    return workplace


def test_dagsters_own_commands_find_both_datasets(workplace: Workplace) -> None:
    assert "All definitions loaded successfully" in workplace.type("dg", "check", "defs")
    listed = workplace.type("dg", "list", "defs", "--json")
    for name in ("fast", "slow"):
        for part in ("/generated_images", "/selected_pairs", "__refresh_dataset", "__repair_failed_shards"):
            assert f"{name}{part}" in listed


def test_a_run_of_one_dataset_leaves_the_other_alone(workplace: Workplace) -> None:
    workplace.type("dg", "launch", "--job", "fast__refresh_dataset")
    assert {"captions/curated", "dataset/selected", "dataset/llava", "dataset/report"} <= workplace.tables("fast")
    assert workplace.tables("slow") == set()
    workplace.type("dg", "launch", "--assets", "slow/raw_captions")
    assert workplace.tables("slow") == {"captions/raw"}
    with dg.DagsterInstance.from_config(str(workplace.home)) as instance:
        fast = instance.get_materialized_partitions(dg.AssetKey(["fast", "image_scores"]))
        slow = instance.get_materialized_partitions(dg.AssetKey(["slow", "image_scores"]))
    assert (fast, slow) == ({"0000", "0001"}, set())


def _scaffold(folder: Path, template: str = "start") -> None:
    """As `dg scaffold defs` does: it makes the folder first."""
    folder.mkdir(parents=True)
    settings = ScaffoldSettings(template=template)
    request = dg.ScaffoldRequest(
        COMPONENT, folder, scaffold_format="yaml", project_root=None, params=settings, append=False
    )
    SynthVLMDatasetScaffolder().scaffold(request)


@pytest.mark.parametrize(
    ("name", "prefix"), [("few-steps", "few_steps"), ("a__b", "a_b"), ("SDXL.v2", "SDXL_v2"), ("base_", "base")]
)
def test_what_is_scaffolded_can_be_loaded(tmp_path: Path, name: str, prefix: str) -> None:
    folder = tmp_path / "defs" / name
    _scaffold(folder)
    attributes = yaml.safe_load((folder / "defs.yaml").read_text())["attributes"]
    assert attributes == {"recipe": "recipe.yaml", "key_prefix": prefix}
    recipe = load_recipe(folder / "recipe.yaml", storage_name=prefix)
    assert recipe.name == prefix.lower()
    assert Dataset(recipe, prefix).prefix == (prefix,)


@pytest.mark.parametrize(
    ("name", "template", "told"),
    [
        (
            "2024",
            "start",
            "'2024' cannot be the name of a dataset, whose assets' keys begin with it: begin with a letter",
        ),
        ("日本", "start", "'日本' cannot be the name of a dataset"),
        ("pairs", "strat", "template: no packaged recipe 'strat'; there are demo, start"),
        ("base", "start", "has the key_prefix 'base' already; name this one differently"),
    ],
)
def test_what_could_not_be_loaded_is_not_scaffolded(tmp_path: Path, name: str, template: str, told: str) -> None:
    _scaffold(tmp_path / "defs" / "first" / "base")
    (tmp_path / "defs" / "broken").mkdir()
    (tmp_path / "defs" / "broken" / "defs.yaml").write_text("a: [")
    folder = tmp_path / "defs" / "second" / name
    with pytest.raises(click.ClickException, match=re.escape(told)):
        _scaffold(folder, template)
    assert not folder.exists()


@pytest.mark.parametrize("prefix", ["a__b", "a_", "_a", "1a", "a-b", ""])
def test_a_prefix_that_could_give_a_name_twice_is_refused(prefix: str) -> None:
    with pytest.raises(RecipeError, match=r"key_prefix: .* cannot be part of the keys of assets: begin with a letter"):
        Dataset(load_recipe("demo"), ["x", prefix])


def test_nothing_of_two_datasets_has_the_same_name() -> None:
    demo = load_recipe("demo")
    both = dg.Definitions.merge(*(build_definitions(demo, key_prefix=name) for name in ("one", "two")))
    repository = both.get_repository_def()
    named = [*repository.job_names, *(each.name for each in (*repository.schedule_defs, *repository.sensor_defs))]
    alone = build_definitions(demo).get_repository_def()
    assert len(repository.assets_defs_by_key) == 2 * len(alone.assets_defs_by_key)
    assert len(named) == len(set(named))
    assert all(name.startswith(("one__", "two__")) for name in named if name != "__ASSET_JOB")
