"""Hugging Face datasets: folders as `datasets` saves and publishes them, and their single files."""

import json
import tracemalloc

import datasets
import fsspec
import polars as pl
import pyarrow as pa
import pytest

from synthvlm_dagster.captions.files import find_files
from synthvlm_dagster.captions.formats import FORMATS
from synthvlm_dagster.captions.made_from import source_version
from synthvlm_dagster.captions.readers import file_format, read_captions
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.recipe import CaptionSource

FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "caption": datasets.Value("string"),
        "similarity": datasets.Value("float32"),
        "captions": datasets.List(datasets.Value("string")),
    }
)
ROWS = {
    "image": [{"bytes": b"\x89PNG 1", "path": "one.png"}, {"bytes": b"\x89PNG 2", "path": None}, None],
    "caption": ["a dog", "a cat", None],
    "similarity": [0.25, None, 0.5],
    "captions": [["a dog", "a puppy"], [], ["a cow"]],
}
COLUMNS = {"image": "image", "clip_similarity": "similarity"}
EXPECTED = [
    (0, "a dog", "/images/one.png", 0.25, None),
    (1, "a cat", None, None, None),
    (2, None, None, 0.5, "caption is null"),
]


@pytest.fixture(autouse=True)
def _quiet():
    datasets.disable_progress_bars()


@pytest.fixture
def dataset():
    return datasets.Dataset.from_dict(ROWS, features=FEATURES)


def captions_dataset(*captions):
    return datasets.Dataset.from_dict({"caption": list(captions)})


def read(path, **settings):
    settings = {"format": "huggingface", "max_bad_share": 1, "image_root": "/images"} | settings
    return pl.concat(read_captions([CaptionSource(name="source", path=str(path), **settings)]))


def facts(raw):
    return raw.select("source_row", "text", "image_uri", "clip_similarity", "problem").rows()


def test_a_folder_of_save_to_disk(tmp_path, dataset):
    dataset.save_to_disk(tmp_path / "saved")
    raw = read(tmp_path / "saved", columns=COLUMNS)
    assert facts(raw) == EXPECTED
    assert set(raw["source_file"]) == {"data-00000-of-00001.arrow"}


def test_all_splits_and_shards_of_save_to_disk(tmp_path):
    splits = {"train": captions_dataset("one", "two", "three"), "test": captions_dataset("four", "five", "six")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path, num_shards={"train": 2, "test": 1})
    raw = read(tmp_path)
    assert raw.select("source_file", "source_row", "text").rows() == [
        ("test/data-00000-of-00001.arrow", 0, "four"),
        ("test/data-00000-of-00001.arrow", 1, "five"),
        ("test/data-00000-of-00001.arrow", 2, "six"),
        ("train/data-00000-of-00002.arrow", 0, "one"),
        ("train/data-00000-of-00002.arrow", 1, "two"),
        ("train/data-00001-of-00002.arrow", 0, "three"),
    ]


def test_caches_beside_the_data_are_not_read(tmp_path):
    captions_dataset("a dog").save_to_disk(tmp_path)
    captions_dataset("in a cache").save_to_disk(tmp_path / "other")
    (tmp_path / "other" / "data-00000-of-00001.arrow").rename(tmp_path / "cache-0123456789abcdef.arrow")
    hidden = tmp_path / ".cache" / "huggingface"
    hidden.mkdir(parents=True)
    captions_dataset("hidden").to_parquet(hidden / "train.parquet")
    assert read(tmp_path)["text"].to_list() == ["a dog"]


def test_a_repository_with_parquet_files(tmp_path, dataset):
    """The layout of push_to_hub."""
    (tmp_path / "README.md").write_text("---\nconfigs: []\n---\n")
    (tmp_path / "data").mkdir()
    dataset.to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    captions_dataset("a bird").to_parquet(tmp_path / "data" / "validation-00000-of-00001.parquet")
    raw = read(tmp_path)
    assert raw.select("source_file", "text").rows() == [
        ("train-00000-of-00001.parquet", "a dog"),
        ("train-00000-of-00001.parquet", "a cat"),
        ("train-00000-of-00001.parquet", None),
        ("validation-00000-of-00001.parquet", "a bird"),
    ]
    glob = read(tmp_path / "**" / "train-*.parquet", columns=COLUMNS)
    assert facts(glob) == EXPECTED


def test_a_folder_on_another_filesystem(tmp_path, dataset):
    dataset.save_to_disk("memory://hub/saved")
    assert facts(read("memory://hub/saved", columns=COLUMNS)) == EXPECTED
    assert facts(read("memory://hub/saved/*.arrow", columns=COLUMNS, format="auto")) == EXPECTED


def test_lists_of_captions(tmp_path, dataset):
    dataset.save_to_disk(tmp_path)
    raw = read(tmp_path, columns={"text": "captions"})
    assert raw.select("source_row", "text", "problem").rows() == [
        (0, "a dog", None),
        (0, "a puppy", None),
        (1, None, "captions is an empty list"),
        (2, "a cow", None),
    ]


def test_a_published_layout_needs_no_columns(tmp_path):
    rows = {"TEXT": ["a dog"], "URL": ["http://e.org/1.jpg"], "similarity": [0.5], "punsafe": [0.25]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "arrow")
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "parquet" / "train.parquet")
    for folder in ("arrow", "parquet"):
        raw = read(tmp_path / folder)
        assert raw.select("text", "image_uri", "clip_similarity", "nsfw_score").rows() == [
            ("a dog", "http://e.org/1.jpg", 0.5, 0.25)
        ]


@pytest.mark.parametrize("options", [pa.ipc.IpcWriteOptions(), pa.ipc.IpcWriteOptions(compression="zstd")])
@pytest.mark.parametrize("new_writer", [pa.ipc.new_file, pa.ipc.new_stream], ids=["file", "stream"])
def test_both_arrow_formats(tmp_path, new_writer, options):
    table = pa.table({"n": [1, 2, 3], "caption": ["a", None, "c"], "clip": [0.5, 0.25, 0.125]})
    with new_writer(tmp_path / "a.arrow", table.schema, options=options) as writer:
        for batch in table.to_batches(max_chunksize=2):
            writer.write_batch(batch)
    raw = read(tmp_path / "a.arrow", columns={"clip_similarity": "clip"}, format="auto")
    assert raw.select("source_row", "text", "clip_similarity").rows() == [
        (0, "a", 0.5),
        (1, None, 0.25),
        (2, "c", 0.125),
    ]


def test_the_bytes_of_images_are_not_kept(tmp_path):
    """Frames of a file with 4 MB of pictures hold its captions alone, also below the surface."""
    images = pa.array([{"bytes": bytes(1_000_000), "path": f"{at}.jpg"} for at in range(4)])
    table = pa.table({"image": images, "caption": [f"a caption of more than twelve bytes {at}" for at in range(4)]})
    with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    source = CaptionSource(name="source", path=str(tmp_path / "a.arrow"), columns={"image": "image"})
    tracemalloc.start()
    frames = list(FORMATS["huggingface"].read(find_files(source)[0], source))
    held, at_most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_000_000 < at_most
    assert frames[0]["image_uri"].to_list() == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_detection(tmp_path, dataset):
    dataset.save_to_disk(tmp_path)
    source = CaptionSource(name="source", path=str(tmp_path / "*.arrow"))
    assert file_format(find_files(source)[0], source) == "huggingface"


def test_the_source_version_follows_the_files_of_a_folder(tmp_path):
    captions_dataset("a dog").to_parquet(tmp_path / "one.parquet")
    source = CaptionSource(name="source", path=str(tmp_path), format="huggingface")
    first = source_version([source])
    (tmp_path / "README.md").write_text("words")
    assert source_version([source]) == first
    captions_dataset("a cat").to_parquet(tmp_path / "two.parquet")
    assert source_version([source]) != first


def test_a_folder_of_another_format_is_refused(tmp_path):
    captions_dataset("a dog").to_parquet(tmp_path / "one.parquet")
    with pytest.raises(CaptionSourceError, match=r"is a folder.*format: huggingface"):
        read(tmp_path, format="auto")


def test_a_folder_without_data_files(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps([]))
    with pytest.raises(CaptionSourceError, match=r"holds no \.parquet or \.arrow files"):
        read(tmp_path)


def test_a_wrong_column(tmp_path, dataset):
    dataset.save_to_disk(tmp_path)
    with pytest.raises(CaptionSourceError, match=r"no column text; columns are image, caption, .*columns\.text"):
        read(tmp_path, columns={"text": "text"})


@pytest.mark.parametrize("content", [b"", b"no arrow at all", b"ARROW1 and more"])
def test_what_is_no_arrow(tmp_path, content):
    (tmp_path / "a.arrow").write_bytes(content)
    with pytest.raises(CaptionSourceError, match=r"a\.arrow"):
        read(tmp_path)


def test_a_cut_arrow_file(tmp_path):
    captions_dataset(*["a dog"] * 3000).save_to_disk(tmp_path)
    path = tmp_path / "data-00000-of-00001.arrow"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CaptionSourceError, match=r"data-00000-of-00001\.arrow"):
        read(tmp_path)


def test_urls_of_the_hub_have_a_filesystem():
    """Only that fsspec knows them: the hub itself is not asked."""
    assert fsspec.get_filesystem_class("hf").__name__ == "HfFileSystem"


def test_a_column_that_points_outside_its_memory_is_a_clear_error(tmp_path):
    table = pa.table({"caption": ["a dog", "a cat"]})
    with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    ends = b"".join(end.to_bytes(4, "little") for end in (0, 5, 10))
    sound = (tmp_path / "a.arrow").read_bytes()
    assert sound.count(ends) == 1
    far = b"".join(end.to_bytes(4, "little") for end in (0, 0x7FFFFFF0, 10))
    (tmp_path / "a.arrow").write_bytes(sound.replace(ends, far))
    with pytest.raises(CaptionSourceError, match=r"a\.arrow.*an arrow or parquet file is expected"):
        read(tmp_path / "a.arrow")
