import hashlib
import io
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synthvlm_dagster.attempts.state import read_images
from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.images.provenance import (
    Provenance,
    image_provenance,
    read_provenance,
    synthetic_content_xmp,
)
from synthvlm_dagster.images.table import encode_image
from synthvlm_dagster.recipe import Generation, load_recipe
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.images.noise import NoiseGenerator
from synthvlm_dagster_tests.pictures import captions_in_shards, plan
from synthvlm_dagster_tests.shards import generate_shard

FORMATS = ["jpeg", "png", "webp"]
SOURCE = Provenance("0123456789abcdef-00", "model-0a1b2c3d4e", "org/model & <refiner>", "v1.0", "ab" * 32, 2**63 - 1)


def _picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def _encode(image_format: str, provenance: Provenance | None, image: Image.Image | None = None) -> bytes:
    return encode_image(image or _picture(), Generation(model="a/b", image_format=image_format), provenance)[0]


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_mark_is_read_back(image_format):
    assert read_provenance(_encode(image_format, SOURCE)) == SOURCE
    assert read_provenance(_encode(image_format, None)) is None


@pytest.mark.parametrize("image_format", FORMATS)
def test_marked_and_unmarked_files_show_the_same_pixels(image_format):
    marked, plain = _encode(image_format, SOURCE), _encode(image_format, None)
    assert marked != plain
    with Image.open(io.BytesIO(marked)) as one, Image.open(io.BytesIO(plain)) as other:
        assert one.format.lower() == image_format
        assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("image_format", FORMATS)
def test_equal_facts_give_equal_bytes(image_format):
    assert _encode(image_format, SOURCE) == _encode(image_format, SOURCE)


def test_the_packet_says_what_iptc_asks_of_generated_images():
    # Namespaces and property names as in IPTC's technical reference of 2025.1, written out once more.
    iptc = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
    root = ElementTree.fromstring(synthetic_content_xmp(SOURCE))
    [description] = root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert (
        description.attrib[f"{iptc}DigitalSourceType"]
        == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    )
    assert description.attrib[f"{iptc}AISystemUsed"] == "org/model & <refiner>"
    assert description.attrib[f"{iptc}AISystemVersionUsed"] == "v1.0"
    assert description.attrib[f"{iptc}AIPromptInformation"] == "sha256:" + "ab" * 32
    assert description.attrib["{urn:synthvlm_dagster:provenance:1.0#}Generator"] == "model-0a1b2c3d4e"


@given(
    system=st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1),
    version=st.none() | st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_model_name_survives(system, version, seed):
    provenance = Provenance("a-00", "model-0", system, version, "0" * 64, seed)
    assert read_provenance(_encode("png", provenance, Image.new("RGB", (1, 1)))) == provenance


def test_an_image_comes_from_its_caption_seed_and_models():
    generation = Generation(model="org/base", revision="abc", refiner={"model": "org/refiner"})
    caption = "a red circle 🔴 and a secret"
    provenance = image_provenance(generation, "base-0a1b2c3d4e", "x-01", caption, 5)
    digest = hashlib.sha256(caption.encode()).hexdigest()
    assert provenance == Provenance("x-01", "base-0a1b2c3d4e", "org/base + org/refiner", "abc", digest, 5)
    assert b"secret" not in synthetic_content_xmp(provenance)


def test_a_folder_has_no_revision():
    generation = Generation(model="/models/base/", revision="abc")
    provenance = image_provenance(generation, "base-0a1b2c3d4e", "x-01", "a caption", 5)
    assert (provenance.system, provenance.system_version) == ("base", None)


def test_what_others_write_is_not_taken_for_a_mark():
    mark = synthetic_content_xmp(SOURCE)
    others = (
        mark.replace(b"trainedAlgorithmicMedia", b"capture"),
        mark.replace(b"synthvlm:Generator", b"synthvlm:Maker"),
    )
    for packet in (b"<not xml", b"<x/>", *others):
        file = io.BytesIO()
        _picture().save(file, "webp", xmp=packet)
        assert read_provenance(file.getvalue()) is None
    with pytest.raises(ImageError, match="in no image format"):
        read_provenance(b"no image")


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
@pytest.mark.parametrize("image_format", FORMATS)
def test_exiftool_reads_the_mark(image_format, tmp_path):
    file = tmp_path / f"image.{image_format}"
    file.write_bytes(_encode(image_format, SOURCE))
    tags = ["-XMP-iptcExt:DigitalSourceType", "-XMP-xmp:CreatorTool", "-XMP-dc:Identifier", "-Warning", "-Error"]
    read = subprocess.run(["exiftool", "-s3", *tags, file], capture_output=True, text=True, check=True).stdout
    assert read.splitlines() == [
        "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
        "synthvlm_dagster",
        SOURCE.image_id,
    ]


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_stored_image_tells_what_its_row_tells(image_format, tmp_path):
    recipe = load_recipe("demo")
    generation = recipe.generation.model_copy(update={"image_format": image_format, "width": 16, "height": 16})
    recipe = recipe.model_copy(update={"generation": generation, "storage": str(tmp_path)})
    storage, shard = Storage(recipe.storage), recipe.shard_keys[0]
    plan(storage, captions_in_shards(3, [shard]), attempts=2)
    generate_shard(recipe, storage, shard, NoiseGenerator())
    rows = read_images(recipe, storage, shard).collect()
    assert rows.height == 6
    for row in rows.iter_rows(named=True):
        provenance = read_provenance(row["image"]["bytes"])
        assert provenance == image_provenance(
            generation, generator_name(recipe), row["image_id"], row["text"], row["seed"]
        )
