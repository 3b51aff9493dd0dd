"""Files inside archives, behind web servers, and that cannot be opened."""

import functools
import json
import tarfile
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import polars as pl
import pytest

from synthvlm_dagster.captions.made_from import source_version
from synthvlm_dagster.captions.readers import read_captions
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.recipe import CaptionSource
from synthvlm_dagster.store.locations import resolve_location


def source(path, **settings):
    return CaptionSource(name="web", path=str(path), **settings)


def read(path, **settings):
    return pl.concat(read_captions([source(path, **settings)]))


@pytest.fixture
def folder(tmp_path):
    """Captions, images and a WebDataset in folders."""
    lines = json.dumps({"caption": "a dog", "image": "../images/1.jpg"}) + "\n"
    (tmp_path / "in" / "captions").mkdir(parents=True)
    (tmp_path / "in" / "captions" / "a.jsonl").write_text(lines)
    (tmp_path / "in" / "captions" / "b.jsonl").write_text(lines.replace("../images/1.jpg", "2.jpg"))
    (tmp_path / "in" / "captions" / "2.jpg").write_bytes(b"JPEG 2")
    (tmp_path / "1.txt").write_text("a cat")
    (tmp_path / "1.jpg").write_bytes(b"JPEG 1")
    with tarfile.open(tmp_path / "in" / "0.tar", "w") as archive:
        for name in ("1.jpg", "1.txt"):
            archive.add(tmp_path / name, name)
    return tmp_path


@pytest.fixture(params=["zip", "tar"])
def archive(folder, request):
    """URL of an archive of the folder, with the scheme of its filesystem in front and a place for the path inside."""
    path = folder / f"all.{request.param}"
    files = [file for file in (folder / "in").rglob("*") if file.is_file()]
    if request.param == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            for file in files:
                packed.write(file, file.relative_to(folder))
    else:
        with tarfile.open(path, "w") as packed:
            for file in files:
                packed.add(file, file.relative_to(folder))
    return f"{request.param}://{{}}::{path}"


def test_files_in_an_archive(archive):
    raw = read(archive.format("in/captions/*.jsonl"), columns={"image": "image"})
    assert raw["source_file"].to_list() == ["a.jsonl", "b.jsonl"]
    with fsspec.open(raw["image_uri"][1]) as image:
        assert image.read() == b"JPEG 2"


def test_an_error_in_an_archive_names_the_archive(archive):
    url = archive.format("in/captions/2.jpg")
    with pytest.raises(CaptionSourceError) as raised:
        read(url)
    assert str(raised.value).startswith(f"source web: {url}: the format cannot be told")


def test_images_of_a_webdataset_in_an_archive(archive):
    raw = read(archive.format("in/0.tar"))
    with fsspec.open(raw["image_uri"][0]) as image:
        assert image.read() == b"JPEG 1"


def test_the_source_version_follows_the_archive_and_its_files(folder, archive):
    inside = source(archive.format("in/captions/a.jsonl"))
    assert source_version([inside]) == source_version([inside])
    other = folder / "other.zip"
    with zipfile.ZipFile(other, "w") as packed:
        packed.writestr("in/captions/a.jsonl", json.dumps({"caption": "a cat", "image": "../images/1.jpg"}) + "\n")
    changed = inside.model_copy(update={"path": f"zip://in/captions/a.jsonl::{other}"})
    assert source_version([inside]) != source_version([changed])


@pytest.mark.parametrize("scheme", ["zip", "tar"])
@pytest.mark.parametrize(("name", "content"), [("a.txt", b"a dog\n"), ("gone", None)])
def test_what_is_no_archive(tmp_path, scheme, name, content):
    if content:
        (tmp_path / name).write_bytes(content)
    url = f"{scheme}://a.jsonl::{tmp_path / name}"
    with pytest.raises(CaptionSourceError, match=rf"source web: {url}: cannot be opened: .*Correct the source's path"):
        read(url)


def test_an_archive_beside_the_recipe(tmp_path):
    assert resolve_location("zip://*.json::packed/a.zip", tmp_path) == f"zip://*.json::{tmp_path}/packed/a.zip"
    assert resolve_location("zip://*.json::s3://bucket/a.zip", tmp_path) == "zip://*.json::s3://bucket/a.zip"


class Handler(SimpleHTTPRequestHandler):
    """Serves files, and breaks every connection to a path with `broken` in it when its body is asked for."""

    def do_GET(self):
        if "broken" not in self.path:
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"a dog\n")
        self.close_connection = True
        return None

    def log_message(self, *_):
        """Nothing: the tests' output is read."""


@pytest.fixture
def server(folder):
    """URL of a web server of the folder."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    thread.join()
    http.server_close()


def test_files_of_a_web_server(folder, server):
    import gzip

    raw = read(f"{server}/in/captions/*.jsonl", columns={"image": "image"})
    assert raw["image_uri"].to_list() == [f"{server}/in/captions/../images/1.jpg", f"{server}/in/captions/2.jpg"]
    (folder / "packed.jsonl.gz").write_bytes(gzip.compress((folder / "in/captions/b.jsonl").read_bytes()))
    raw = read(f"{server}/packed.jsonl.gz?download=true&path=a/b", columns={"image": "image"})
    assert raw.select("text", "image_uri").rows() == [("a dog", f"{server}/2.jpg")]


def test_what_a_web_server_does_not_give(folder, server):
    with pytest.raises(CaptionSourceError, match="no such file"):
        read(f"{server}/gone.json")
    with pytest.raises(CaptionSourceError, match="it is a web page"):
        read(f"{server}/in/")
    (folder / "broken.txt").write_text("a dog\n")
    with pytest.raises(CaptionSourceError, match=r"source web: .*/broken\.txt: cannot be (read|opened)"):
        read(f"{server}/broken.txt")
    with pytest.raises(CaptionSourceError, match=r"cannot be opened: .*reachable"):
        read("http://127.0.0.1:9/a.json")


def test_a_filesystem_that_does_not_exist():
    with pytest.raises(CaptionSourceError, match="Protocol not known: nowhere"):
        read("nowhere://a.json")


@pytest.mark.parametrize(("names", "example"), [(["0.json", "0.tar"], "tar"), (["a.csv.gz"], "gz"), ([], "json")])
def test_a_folder_is_named_by_its_files(tmp_path, names, example):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(
        CaptionSourceError, match=rf"is a folder\. Name its files, for example {tmp_path}/\*\.{example};"
    ):
        read(f"{tmp_path}/")
