"""Caption files that are cut, mixed up, packed to burst or made to harm: a clear error, or rows with their reason."""

# ruff: noqa: E501 - tables of cases

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import resource
import struct
import tarfile
import zipfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.captions import unpacking
from synthvlm_dagster.captions.readers import RAW_SCHEMA, read_captions
from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.recipe import CaptionSource
from synthvlm_dagster_tests.hardening.caption_files import CAPTIONS, SOUND, parquet_of, tar_of
from synthvlm_dagster_tests.hardening.damage import MORE, damaged, examples

MEMORY = 1 << 30
"""Bytes that reading any of these files may add to the process."""


def read(path: str | Path, layout: str = "auto", **settings: object) -> pl.DataFrame:
    source = CaptionSource(name="bad", path=str(path), format=layout, **settings)
    return pl.concat(read_captions([source]))


def require_clear(error: CaptionSourceError, *names: str) -> None:
    told = str(error)
    assert any(name in told for name in names), told
    assert all(sign in "\n\t" or sign.isprintable() for sign in told), told
    assert len(told) < 5000
    told.encode()


def require_sound(rows: pl.DataFrame) -> None:
    """Each row has either a text that is Unicode or a reason why not."""
    assert rows.schema == RAW_SCHEMA
    assert rows.select((pl.col("text").is_null() != pl.col("problem").is_null()).all()).item()
    assert all(text.strip() for text in rows["text"].drop_nulls())
    "".join(rows["text"].drop_nulls()).encode()


@pytest.mark.parametrize("layout", SOUND)
def test_spoiled_files_are_clear_errors_or_rows_with_a_reason(layout, tmp_path):
    name, sound = SOUND[layout]
    assert read(_written(tmp_path / "sound" / name, sound), layout)["problem"].null_count() == len(CAPTIONS)
    tried: set[tuple[bytes, str]] = set()

    @examples(40)
    @given(damaged(sound), st.sampled_from((layout, layout, "auto", *SOUND)))
    def attack(content: bytes, read_as: str) -> None:
        tried.add((content, read_as))
        path = _written(tmp_path / name, content)
        try:
            require_sound(read(path, read_as))
        except CaptionSourceError as error:
            require_clear(error, str(path), "source bad")

    attack()
    # 18 formats: 360 files at least.
    assert len(tried) >= (MORE or 40) // 2


@pytest.mark.parametrize("sign", ["\x01", "\u202e", "\U000e0001", "é", "caption "])
def test_many_long_names_of_columns_make_no_long_message(sign, tmp_path):
    names = [f"{sign * 500}{number}" for number in range(200)]
    spoiled = {
        "a.csv": ",".join(names).encode() + b"\n1\n",
        "b.jsonl": json.dumps(dict.fromkeys(names, 1)).encode(),
        "c.json": json.dumps([dict.fromkeys(names, 1)]).encode(),
        "d.json": json.dumps(dict.fromkeys(names, 1)).encode(),
        "e.parquet": parquet_of(**{name: [1] for name in names}),
    }
    for name, content in spoiled.items():
        path = _written(tmp_path / name, content)
        with pytest.raises(CaptionSourceError) as refused:
            read(path)
        require_clear(refused.value, str(path))
        assert len(str(refused.value)) < 3000


def _written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def _flawed_footer(footer: bytes) -> bytes:
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _many_rows() -> bytes:
    """A footer that promises 2**62 rows."""
    whole = parquet_of(caption=CAPTIONS)
    length = struct.unpack("<I", whole[-8:-4])[0]
    footer = whole[-8 - length : -8]
    # Thrift's zigzag varint of 12 rows, wherever it stands.
    return whole[: -8 - length] + footer.replace(b"\x18", b"\xfe", 1) + whole[-8:]


def _sparse_tar() -> bytes:
    """A member whose header says 8 GiB, of which the archive holds nothing."""
    member = tarfile.TarInfo("0001.txt")
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386 + 96 + 1 : 386 + 96 + 13] = b"%011o\0" % (8 << 30)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + tar_of({"0002.txt": b"A red circle."})


NESTED = "[" * 100_000
WHOLE_JSON = json.dumps([{"caption": caption} for caption in CAPTIONS])
REFUSED: dict[str, bytes] = {
    "empty.json": b"",
    "empty.csv": b"\n\n\n",
    "zeros.txt": bytes(5000),
    "page.tsv": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
    "xml.jsonl": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    "pointer.parquet": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "archive.json": b"PK\x03\x04" + bytes(100),
    "packed.txt": gzip.compress(b"A red circle.\n"),
    "packed.json": bz2.compress(WHOLE_JSON.encode()),
    "utf16.json": WHOLE_JSON.encode("utf-16"),
    "utf32.csv": "caption\nA red circle.\n".encode("utf-32"),
    "mac.txt": b"A red circle.\rA blue circle.\r",
    "line.txt": b"a" * (20 << 20),
    "line.csv": b"caption\n" + b"a" * (20 << 20),
    "nested.json": NESTED.encode(),
    "nested-object.json": (b'{"a":' * 100_000),
    "nested-items.json": ("[" + '{"caption": ' + NESTED).encode(),
    "nested.jsonl": (NESTED + "\n").encode(),
    "unclosed.json": WHOLE_JSON[:-30].encode(),
    "comma.json": WHOLE_JSON.replace("},", "}", 1).encode(),
    "quotes.json": WHOLE_JSON.replace('"', "'").encode(),
    "number.json": ("[" + "9" * 1_000_000 + "]").encode(),
    "exponent.json": b"[1e999999999999, NaN, -Infinity]",
    "twice.json": (WHOLE_JSON * 2).encode(),
    "strings.json": b'["A red circle.", "A blue circle."]',
    "fields.json": b'[{"title": "A red circle."}]',
    "list.coco.json": b'{"images": {}, "annotations": {}}',
    "columns.csv": b"title,url\nA red circle.,x\n",
    "repeated.csv": b"caption,caption\nA red circle.,x\n",
    "semicolons.csv": b"caption;url\nA red circle.;x\n",
    "cut.gz.csv.gz": gzip.compress(b"caption\n" + b"A red circle.\n" * 9)[:-9],
    "no.csv.gz": b"caption\nA red circle.\n",
    "changed.csv.gz": gzip.compress(b"caption\nA red circle.\n" * 99)[:20] + b"\xff" * 20,
    "no.csv.zst": b"\x28\xb5\x2f\xfd" + b"\xff" * 40,
    "no.csv.xz": b"\xfd7zXZ\x00" + b"\xff" * 40,
    "no.csv.bz2": b"BZh9" + b"\xff" * 40,
    "no.parquet": b"PAR1" + bytes(40) + b"PAR1",
    "short.parquet": b"PAR1",
    "footer.parquet": _flawed_footer(b"\xff" * 200),
    "footer-length.parquet": b"PAR1" + bytes(20) + struct.pack("<I", 1 << 31) + b"PAR1",
    "rows.parquet": _many_rows(),
    "none.parquet": parquet_of(caption=pl.Series([], dtype=pl.String)),
    "numbers.parquet": parquet_of(caption=[1, 2, 3]),
    "columns.parquet": parquet_of(title=CAPTIONS),
    "nested.parquet": parquet_of(caption=[[["A red circle."]]]),
    "objects.parquet": parquet_of(caption=[{"en": "A red circle."}]),
    "bytes.parquet": parquet_of(caption=[b"\xff\xfe", b"\xed\xa0\x80"]),
    "no.tar": b"no tar" * 200,
    "cut.tar": tar_of({f"{number}.txt": b"A red circle." for number in range(9)})[:2100],
    "pictures.tar": tar_of({f"{number}.jpg": b"x" for number in range(9)}),
    "no.arrow": b"ARROW1" + bytes(400),
    "control.txt": b"\x00\x01\x02\x03",
}


def test_bad_caption_files_are_many():
    assert len(REFUSED) >= 50


@pytest.mark.parametrize("name", REFUSED)
def test_each_is_one_clear_error(name, tmp_path):
    path = _written(tmp_path / name, REFUSED[name])
    layout = "coco" if ".coco." in name else "auto"
    with pytest.raises(CaptionSourceError) as error:
        require_sound(read(path, layout))
    require_clear(error.value, str(path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "A red circle.\nA blue circle.\nA green circle.\nA \0 circle.\nA \x1b[31mred circle.\nA \u202eelcric.\n".encode() + b"A \xff.\n" + b"\xed\xa0\x80\n"),
        ("a.csv", b'caption\n"A ""red"" circle."\n"A red" circle\nA red circle.\n"\xff"\nA red circle.\nA\0B\n'),
        ("a.tsv", b'caption\turl\nA red circle.\tx\n"A red\tx\nA red circle.\tx\ty\n\n\nA blue circle.\tx\n'),
        ("a.jsonl", b'{"caption": "A red circle."}\n{"caption": "\\ud800"}\n' + NESTED.encode() + b'\n{"caption": 3}\n[]\n{"caption": null}\n{"caption": "A blue circle."}\n{"caption": "A green circle."}\n{"caption": "A white circle."}\n{"caption": "A black circle."}\n'),
        ("a.json", b'[{"caption": "A red circle."}, {"caption": "\\udfff"}, 3, null, {"caption": ["A blue circle.", null]}, {"caption": "A white circle."}, {"caption": "A black circle."}]'),
        ("a.tar", tar_of({"1.txt": b"A red circle.", "2.json": b"[" * 50_000, "3.txt": b"\xff\xfe", "4.txt": b"A blue circle.", "5.txt": b"A green circle."})),
        ("a.parquet", parquet_of(caption=["A red circle.", None, "", " ", "A blue circle.", "A green circle."])),
    ],
)  # fmt: skip
def test_a_bad_row_costs_itself_alone(name, content, tmp_path):
    rows = read(_written(tmp_path / name, content))
    require_sound(rows)
    good, bad = rows["text"].drop_nulls(), rows["problem"].drop_nulls()
    assert "A red circle." in good.to_list()
    assert not bad.is_empty()


class TestBombs:
    """What is small on the disk and large in memory."""

    @pytest.fixture(autouse=True)
    def _no_room(self):
        """Little memory above what the process has."""
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
        yield
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

    @pytest.mark.parametrize(
        ("name", "pack"),
        [
            ("a.txt.gz", lambda line: gzip.compress(line * (100 << 20), 9)),
            ("a.csv.bz2", lambda line: bz2.compress(line * (100 << 20))),
            ("a.json.xz", lambda line: lzma.compress(b"[" + line * (100 << 20), preset=0)),
            ("a.tar.zst", lambda line: pa.compress(line * (100 << 20), "zstd", asbytes=True)),
        ],
    )
    @pytest.mark.parametrize("line", [b"\n", b"a"])
    def test_packed_files_that_burst(self, name, pack, line, tmp_path):
        path = _written(tmp_path / name, pack(line))
        assert path.stat().st_size < 200_000
        with pytest.raises(CaptionSourceError) as error:
            read(path, {"a.txt.gz": "txt", "a.csv.bz2": "csv", "a.json.xz": "synthvlm"}.get(name, "auto"))
        require_clear(error.value, str(path))

    def test_many_short_lines_are_refused_before_they_fill_the_disk(self, tmp_path, monkeypatch):
        monkeypatch.setattr(unpacking, "_HARMLESS_BYTES", 1 << 20)
        path = _written(tmp_path / "a.txt.gz", bz2.compress(b"A red circle.\n" * (1 << 17), 9))
        path = path.rename(tmp_path / "a.txt.bz2")
        with pytest.raises(
            CaptionSourceError, match=r"a\.txt\.bz2: unpacks to over 400 times its size.*Unpack it yourself"
        ):
            read(path)

    def test_a_bomb_in_a_zip_archive(self, tmp_path, monkeypatch):
        monkeypatch.setattr(unpacking, "_HARMLESS_BYTES", 1 << 20)
        monkeypatch.setattr(unpacking, "_LARGEST_RATIO", 100)
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.txt", b"A red circle.\n" * (1 << 17))
        with pytest.raises(CaptionSourceError, match=r"a\.zip: unpacks to over 100 times"):
            read(f"zip://a.txt::{tmp_path}/a.zip")

    def test_a_sparse_member_of_a_tar(self, tmp_path):
        path = _written(tmp_path / "a.tar", _sparse_tar())
        try:
            assert read(path, max_bad_share=1)["problem"][0] == "the .txt is larger than 16 MiB"
        except CaptionSourceError as error:
            require_clear(error, str(path))

    def test_a_parquet_file_of_one_text_again_and_again(self, tmp_path):
        text = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["A red circle " * 100])
        pq.write_table(pa.table({"caption": text}), tmp_path / "a.parquet")
        assert (tmp_path / "a.parquet").stat().st_size < 1 << 20
        source = CaptionSource(name="bad", path=str(tmp_path / "a.parquet"))
        assert sum(part.height for part in read_captions([source])) == 100_000


HOSTILE_NAMES = (
    "../../evil", "/etc/passwd", "a/../../evil", "..\\..\\evil", "%2e%2e/evil", "a\x1b[2Jb", "a" * 150 + "/b", "-rf", "~root/x",
)  # fmt: skip


def test_members_of_archives_are_never_unpacked_to_a_disk(tmp_path):
    inside = tmp_path / "inside" / "deep"
    inside.mkdir(parents=True)
    members = {f"{name}{number}.txt": b"A red circle." for number, name in enumerate(HOSTILE_NAMES)}
    members |= {f"{name}{number}.jpg": b"x" for number, name in enumerate(HOSTILE_NAMES)}
    (inside / "a.tar").write_bytes(tar_of(dict(sorted(members.items()))))
    stream = io.BytesIO((inside / "a.tar").read_bytes())
    with tarfile.open(fileobj=stream, mode="a") as archive:
        for kind, name in (
            (tarfile.SYMTYPE, "link.txt"),
            (tarfile.LNKTYPE, "hard.txt"),
            (tarfile.FIFOTYPE, "pipe.txt"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    (inside / "a.tar").write_bytes(stream.getvalue())
    rows = read(inside / "a.tar")
    require_sound(rows)
    assert len(rows) == len(HOSTILE_NAMES) - 1, "links, pipes and what begins with a dot are no samples"
    assert not any("root:" in text for text in rows["text"])
    with zipfile.ZipFile(inside / "a.zip", "w") as archive:
        archive.writestr("../../evil.txt", "A red circle.\n")
    assert read(f"zip://**/*.txt::{inside}/a.zip").height == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "a.zip", "deep", "inside"]


def test_loading_scripts_of_datasets_are_not_run(tmp_path):
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "dataset.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')")
    (folder / "data.parquet").write_bytes(parquet_of(caption=CAPTIONS))
    assert read(folder, "huggingface").height == len(CAPTIONS)
    assert not (tmp_path / "pwned").exists()
