"""The Hugging Face export, read back with the datasets library and with mlcroissant."""

import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from synthvlm_dagster.dataset.exports.card import write_card
from synthvlm_dagster.dataset.exports.export import Written
from synthvlm_dagster.dataset.exports.huggingface import (
    FOLDER,
    verify_huggingface,
    write_huggingface,
)
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.provenance import read_provenance
from synthvlm_dagster.store.made_from import FOLDERS_RECORD, MadeFrom
from synthvlm_dagster_tests.dataset.conftest import HOSTILE_CAPTION, Project, good_captions

MakeProject = Callable[..., Project]

ODD_CAPTIONS = [
    HOSTILE_CAPTION,
    "a caption with\nlines and\r\n---\nyaml: [of | its] own 'quotes' \"of both kinds\"",
    "a caption with NUL \0 in it, on a plain white background, and ünïcode 日本語 🐕",
]


def export(project: Project) -> Written:
    write_card(project.recipe, project.storage)
    # The record that the asset leaves in the folder, so that every reader below is seen to be at ease with it.
    with project.storage.recorded_folder(FOLDER, MadeFrom(code=1)):
        return write_huggingface(project.recipe, project.storage)


def folder(project: Project) -> Path:
    return Path(project.storage.url(FOLDER))


def header(project: Project) -> dict:
    matched = re.match(r"---\n(.*?)\n---\n", (folder(project) / "README.md").read_text(), re.DOTALL)
    assert matched
    return yaml.safe_load(matched[1])


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """`datasets.load_dataset` without a network and with a cache of its own."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    return lambda path, **options: datasets.load_dataset(str(path), cache_dir=str(tmp_path / "cache"), **options)


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_the_datasets_library_reads_every_pair(make_project: MakeProject, load: Callable, image_format: str) -> None:
    import datasets

    project = make_project(
        [*good_captions(6), *ODD_CAPTIONS],
        generation={"model": "maker/model", "image_format": image_format},
        selection={"share": 1},
        curation={"rules": dict.fromkeys(("special_char_ratio", "alnum_ratio", "char_rep_ratio", "word_rep_ratio"))},
    )
    written = export(project)
    loaded = load(folder(project))
    assert list(loaded) == ["train"]
    rows = loaded["train"]
    assert rows.features["image"] == datasets.Image()
    assert rows.column_names[:3] == ["image", "caption", "image_id"]
    selected = {row["image_id"]: row for row in project.selected.drop("shard").to_dicts()}
    assert written.pairs == len(rows) == len(selected) == 9
    for row in rows:
        wanted = selected.pop(row["image_id"])
        assert row["caption"] == wanted.pop("text")
        assert {name: row[name] for name in wanted} == wanted
        assert isinstance(row["image"], Image.Image)
        assert row["image"].size == (64, 64)
        assert row["model"] == "maker/model"
        assert isinstance(row["seed"], int)
    assert not selected
    for row in rows.cast_column("image", datasets.Image(decode=False)):
        original = project.picture(row["image_id"])
        assert read_provenance(row["image"]["bytes"]) == read_provenance(original) is not None
    streamed = load(folder(project), split="train", streaming=True)
    assert [row["image_id"] for row in streamed] == rows["image_id"][:]
    assert verify_huggingface(project.recipe, project.storage).passed


def test_files_end_at_their_size_and_row_groups_at_a_hundred(make_project: MakeProject, load: Callable) -> None:
    project = make_project(good_captions(260), selection={"share": 1})
    assert export(project).counts["parquet_files"] == 1
    [file] = (folder(project) / "data").iterdir()
    assert file.name == "train-00000-of-00001.parquet"
    metadata = pq.ParquetFile(file).metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [100, 100, 60]
    assert metadata.row_group(0).column(0).has_offset_index
    features = json.loads(pq.read_schema(file).metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["caption"] == {"dtype": "string", "_type": "Value"}


def test_many_files_are_numbered_of_their_number(
    make_project: MakeProject, load: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthvlm_dagster.dataset.exports import huggingface

    monkeypatch.setattr(huggingface, "_ROWS_PER_GROUP", 2)
    project = make_project(
        good_captions(5), selection={"share": 1}, exports={"huggingface": {"megabytes_per_file": 0.0005}}
    )
    assert export(project).counts["parquet_files"] == 3
    names = sorted(file.name for file in (folder(project) / "data").iterdir())
    assert names == [f"train-{number:05d}-of-00003.parquet" for number in range(3)]
    assert len(load(folder(project), split="train")) == 5
    assert verify_huggingface(project.recipe, project.storage).passed


def test_equal_pairs_give_equal_files(make_project: MakeProject) -> None:
    def contents() -> dict[str, bytes]:
        files = (file for file in folder(project).rglob("*") if file.is_file())
        return {str(file.relative_to(folder(project))): file.read_bytes() for file in files}

    project = make_project()
    export(project)
    before, record = contents(), project.storage.made_from(FOLDER)
    export(project)
    after, again = contents(), project.storage.made_from(FOLDER)
    assert record is not None
    assert again == record.model_copy(update={"seen": again.seen if again else ""}), "but for when files were written"
    assert after | {FOLDERS_RECORD: b""} == before | {FOLDERS_RECORD: b""}
    today = datetime.now(UTC).date().isoformat().encode()
    assert [name for name, content in before.items() if today in content] == []


def test_the_day_of_publication_is_the_recipes(make_project: MakeProject) -> None:
    project = make_project(exports={"published": "2031-02-28"})
    export(project)
    assert json.loads((folder(project) / "croissant.json").read_text())["datePublished"] == "2031-02-28"


def test_the_header_says_what_there_is(make_project: MakeProject) -> None:
    project = make_project(exports={"licence": "cc-by-4.0"})
    export(project)
    found = header(project)
    assert found["license"] == "cc-by-4.0"
    assert found["size_categories"] == ["n<1K"]
    assert "synthetic" in found["tags"]
    assert found["dataset_info"]["splits"][0]["num_examples"] == project.selected.height
    assert found["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}]
    plain = make_project()
    export(plain)
    assert header(plain)["license"] == "unknown"


def test_the_hub_library_reads_the_card(make_project: MakeProject) -> None:
    from huggingface_hub import DatasetCard

    project = make_project(description="---\nlicense: mit\n---\n<script>alert(1)</script> | a [link](http://x) ```")
    export(project)
    card = DatasetCard.load(folder(project) / "README.md")
    assert card.data.license == "unknown"
    assert card.data.pretty_name == "shapes"
    assert "<script>" not in card.text
    assert "[link]" not in card.text


def test_an_empty_selection_is_an_empty_dataset(make_project: MakeProject, load: Callable) -> None:
    project = make_project()
    project.storage.write_table(SELECTED, project.selected.clear())
    written = export(project)
    assert (written.pairs, written.counts["parquet_files"], written.sample) == (0, 1, None)
    assert list(load(folder(project), split="train", streaming=True)) == []
    assert verify_huggingface(project.recipe, project.storage).passed


def test_mlcroissant_validates_and_reads_the_records(
    make_project: MakeProject, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlcroissant

    project = make_project(
        [*good_captions(5), *ODD_CAPTIONS[1:]],
        selection={"share": 1},
        exports={
            "licence": "cc-by-4.0",
            "creator": "Someone",
            "url": "https://example.com/data",
            "published": "2026-11-30",
        },
        curation={"rules": dict.fromkeys(("special_char_ratio", "alnum_ratio", "char_rep_ratio", "word_rep_ratio"))},
    )
    export(project)
    dataset = mlcroissant.Dataset(jsonld=folder(project) / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    assert dataset.metadata.data_biases
    assert dataset.metadata.data_limitations
    assert "diffusion" in dataset.metadata.data_collection
    selected = {row["image_id"]: row for row in project.selected.to_dicts()}
    for record in dataset.records("pairs"):
        row = selected.pop(record["pairs/image_id"].decode())
        assert record["pairs/caption"].decode() == row["text"]
        assert record["pairs/clip_score"] == row["clip_score"]
        assert record["pairs/image"].size == (64, 64)
    assert not selected


def test_verification_names_what_differs(make_project: MakeProject) -> None:
    project = make_project()
    export(project)
    dropped = project.selected.filter(pl.col("rank") == 1)["image_id"][0]
    project.storage.write_table(SELECTED, project.selected.filter(pl.col("rank") > 1))
    assert verify_huggingface(project.recipe, project.storage).unexpected == [dropped]
    readme = f"{FOLDER}/README.md"
    text = project.storage.read_bytes(readme).decode()
    project.storage.write_bytes(
        readme, text.replace("- synthetic\n", "").replace("name: caption", "name: cap").encode()
    )
    assert verify_huggingface(project.recipe, project.storage).misdescribed == [
        "the columns in README.md",
        "the synthetic tag in README.md",
    ]
    project.storage.write_bytes(readme, b"# no header")
    assert verify_huggingface(project.recipe, project.storage).misdescribed == ["the header of README.md"]
    project.storage.write_bytes(f"{FOLDER}/croissant.json", b"{}")
    assert "croissant.json" in verify_huggingface(project.recipe, project.storage).misdescribed


def test_another_parquet_file_is_found_by_its_digest(make_project: MakeProject) -> None:
    project = make_project()
    export(project)
    [path] = project.storage.files(FOLDER, ".parquet")
    table = pq.read_table(project.storage.url(path))
    cut = [{"bytes": image["bytes"][:60], "path": image["path"]} for image in table["image"].to_pylist()]
    broken = table.set_column(0, table.schema.field("image"), [cut])
    stream = io.BytesIO()
    pq.write_table(broken, stream)
    project.storage.write_bytes(path, stream.getvalue())
    verdict = verify_huggingface(project.recipe, project.storage)
    assert verdict.unreadable == [f"{path}, row {image_id}" for image_id in sorted(project.selected["image_id"])]
    assert verdict.misdescribed == ["data/train-00000-of-00001.parquet in croissant.json"]
    project.storage.write_bytes(path, stream.getvalue()[:-20])
    [cut] = verify_huggingface(project.recipe, project.storage).unreadable
    assert cut.startswith(f"{path} (not a whole parquet file")


def test_without_a_card_it_says_what_to_do(make_project: MakeProject) -> None:
    project = make_project()
    with pytest.raises(StorageError, match=r"dataset_card"):
        write_huggingface(project.recipe, project.storage)


def test_a_remote_store_gets_the_same_parquet(make_project: MakeProject) -> None:
    local, remote = make_project(), make_project(url="memory://huggingface-export")
    export(local)
    export(remote)
    [path] = remote.storage.files(FOLDER, ".parquet")
    assert remote.storage.read_bytes(path) == local.storage.read_bytes(path)
    assert verify_huggingface(remote.recipe, remote.storage).passed
