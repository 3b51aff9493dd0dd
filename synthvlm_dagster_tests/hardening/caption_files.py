"""A sound caption file in each format that the README lists, to be spoiled."""

from __future__ import annotations

import io
import json
import tarfile

import polars as pl

CAPTIONS = [f"A red circle number {number} on a plain white page." for number in range(12)]
_URLS = [f"https://images.example/{number}.jpg" for number in range(12)]


def tar_of(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def parquet_of(**columns: object) -> bytes:
    stream = io.BytesIO()
    pl.DataFrame(columns).write_parquet(stream)
    return stream.getvalue()


def _arrow() -> bytes:
    stream = io.BytesIO()
    pl.DataFrame({"caption": CAPTIONS}).write_ipc(stream)
    return stream.getvalue()


def _llava() -> list[dict]:
    return [
        {"id": str(number), "image": f"{number}.jpg", "conversations": [{"from": "gpt", "value": caption}]}
        for number, caption in enumerate(CAPTIONS)
    ]


def _coco() -> dict:
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(12)]
    annotations = [{"id": number, "image_id": number, "caption": caption} for number, caption in enumerate(CAPTIONS)]
    return {"images": images, "annotations": annotations}


def _samples() -> dict[str, bytes]:
    return {
        f"{number:04d}.{suffix}": content
        for number, caption in enumerate(CAPTIONS)
        for suffix, content in (("jpg", b"no picture"), ("txt", caption.encode()), ("json", b"{}"))
    }


SOUND: dict[str, tuple[str, bytes]] = {
    "llava": ("a.json", json.dumps(_llava()).encode()),
    "synthvlm": ("a.json", json.dumps([{"id": 1, "caption": caption} for caption in CAPTIONS]).encode()),
    "coco": ("a.json", json.dumps(_coco()).encode()),
    "sbu": ("a.json", json.dumps({"image_urls": _URLS, "captions": CAPTIONS}).encode()),
    "cc3m": ("a.tsv", "".join(f"{caption}\t{_URLS[0]}\n" for caption in CAPTIONS).encode()),
    "cc12m": ("a.tsv", "".join(f"{_URLS[0]}\t{caption}\n" for caption in CAPTIONS).encode()),
    "partiprompts": ("a.tsv", ("Prompt\tNote\n" + "".join(f"{caption}\tx\n" for caption in CAPTIONS)).encode()),
    "coyo": ("a.parquet", parquet_of(url=_URLS, text=CAPTIONS, watermark_score=[0.1] * 12)),
    "laion": ("a.parquet", parquet_of(URL=_URLS, TEXT=CAPTIONS, similarity=[0.3] * 12)),
    "laion-coco": ("a.parquet", parquet_of(URL=_URLS, top_caption=CAPTIONS, all_captions=[[c] for c in CAPTIONS])),
    "datacomp": ("a.parquet", parquet_of(url=_URLS, text=CAPTIONS, clip_b32_similarity_score=[0.3] * 12)),
    "webdataset": ("a.tar", tar_of(_samples())),
    "huggingface": ("a.arrow", _arrow()),
    "parquet": ("a.parquet", parquet_of(caption=CAPTIONS)),
    "csv": ("a.csv", ("caption,url\n" + "".join(f'"{caption}",{_URLS[0]}\n' for caption in CAPTIONS)).encode()),
    "tsv": ("a.tsv", ("caption\turl\n" + "".join(f"{caption}\t{_URLS[0]}\n" for caption in CAPTIONS)).encode()),
    "jsonl": ("a.jsonl", "".join(json.dumps({"caption": caption}) + "\n" for caption in CAPTIONS).encode()),
    "txt": ("a.txt", "\n".join(CAPTIONS).encode()),
}
"""Format → the name and the content of a file."""
