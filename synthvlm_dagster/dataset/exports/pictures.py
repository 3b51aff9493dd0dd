"""Whether exported pictures are those of their pairs: they decode, and say in their mark what they were made of."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

import polars as pl

from synthvlm_dagster.dataset.exports.export import OnProgress, say_nothing
from synthvlm_dagster.dataset.integrity import absent_images
from synthvlm_dagster.dataset.pairs import SELECTED, with_images
from synthvlm_dagster.errors import ImageError
from synthvlm_dagster.image_decoding import open_image
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.images.provenance import Provenance, prompt_digest, provenance_of
from synthvlm_dagster.progress import Progress
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage

PICTURE = "picture"
"""Column with the digest of a pair's picture."""
Digest: TypeAlias = Callable[[bytes], bytes]
_IN_MEMORY = 64
"""Pictures that are held at a time."""


class ExportedPicture(NamedTuple):
    """A picture of an export, and what it must be."""

    place: str
    """The file, for people, and which of the pictures in it."""
    content: bytes | None
    image_id: str
    text: str
    """The caption that it was made from."""
    stored: bytes | None
    """Digest of the store's picture, as the export would have it; None: the store has none."""


class PictureFault(NamedTuple):
    """What is wrong with a picture."""

    place: str
    reason: str | None
    """Why it is not its pair's; None: it cannot be decoded."""


def digest_of_file(content: bytes) -> bytes:
    """16 bytes that tell files apart."""
    return hashlib.blake2b(content, digest_size=16).digest()


def expected_pairs(
    recipe: Recipe,
    storage: Storage,
    digest: Digest = digest_of_file,
    on_progress: OnProgress = say_nothing,
) -> pl.DataFrame:
    """The selected pairs as an export should have them.

    Args:
        recipe: names the generator.
        storage: the store.
        digest: of the file that the export should hold, from that of the store.
        on_progress: gets a line every ten seconds.

    Returns:
        The columns of the selected pairs, of their images but the image itself, and `PICTURE`, which is null where the
        image is not in the store. A few hundred bytes a pair.

    Raises:
        StorageError: there is no selection, or the store cannot be read.
    """
    selected = storage.scan(SELECTED).collect()
    absent = absent_images(recipe, storage, selected)
    frames = [selected.clear().with_columns(pl.lit(None, pl.Binary).alias(PICTURE))]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        stored = selected.filter(~pl.col("image_id").is_in(absent))
        for batch in with_images(recipe, storage, stored, on_progress):
            digests = list(threads.map(lambda content: _digest_of_any(digest, content), _contents(batch)))
            frames.append(batch.drop("image").with_columns(pl.Series(PICTURE, digests, pl.Binary)))
    return pl.concat([*frames, selected.filter(pl.col("image_id").is_in(absent))], how="diagonal")


def picture_faults(
    recipe: Recipe,
    pictures: Iterable[ExportedPicture],
    total: int,
    digest: Digest = digest_of_file,
    on_progress: OnProgress = say_nothing,
) -> Iterator[PictureFault]:
    """Look at every picture, with all cores: it decodes, its mark tells its image, caption and generator, and it is the
    store's.

    Args:
        recipe: names the generator.
        pictures: read while those before are looked at; a few dozen are in memory at a time.
        total: how many there are, for the progress.
        digest: what `ExportedPicture.stored` is to be compared with.
        on_progress: gets a line every ten seconds.
    """
    generator = generator_name(recipe)
    waiting: deque[Future[PictureFault | None]] = deque()
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as threads, Progress("pictures checked", on_progress, total) as progress:
        for picture in pictures:
            waiting.append(threads.submit(_fault, picture, generator, digest))
            while waiting and (len(waiting) >= _IN_MEMORY or waiting[0].done()):
                done += 1
                progress.report(done)
                if fault := waiting.popleft().result():
                    yield fault
        yield from (fault for future in waiting if (fault := future.result()))


def _fault(picture: ExportedPicture, generator: str, digest: Digest) -> PictureFault | None:
    mark, opens = _mark(picture.content)
    if not opens or picture.content is None:
        return PictureFault(picture.place, None)
    reason = _why_not_its_pairs(picture, mark, generator)
    if picture.stored is None:
        reason = reason or "the store has no image to compare it with: materialize generated_images again"
    elif _digest_of_any(digest, picture.content) != picture.stored:
        reason = reason or "is not the picture that the store has of this image"
    elif reason:
        reason = f"{reason}, and so does the store's own file"
    return PictureFault(picture.place, reason) if reason else None


def _why_not_its_pairs(picture: ExportedPicture, mark: Provenance | None, generator: str) -> str | None:
    if mark is None:
        return "carries no mark of where it comes from"
    if mark.image_id != picture.image_id:
        return f"says that it is image {mark.image_id}, not {picture.image_id}"
    if mark.generator != generator:
        return f"says that {mark.generator} made it, not {generator}"
    if mark.prompt_sha256 != prompt_digest(picture.text):
        return "says that it was made from another caption"
    return None


def _mark(content: bytes | None) -> tuple[Provenance | None, bool]:
    """The mark of an image file, and whether it decodes to its end."""
    try:
        with open_image(content or b"") as image:
            mark = provenance_of(image)
            # A JPEG decoded at an eighth of its size is still read to its last byte, in a fraction of the time.
            image.draft("RGB", (image.width // 8, image.height // 8))
            image.load()
    except (ImageError, OSError, SyntaxError, ValueError):
        return None, False
    return mark, True


def _contents(batch: pl.DataFrame) -> list[bytes]:
    return batch["image"].struct.field("bytes").to_list()


def _digest_of_any(digest: Digest, content: bytes) -> bytes:
    """Of a picture that cannot be decoded whole there is no other digest than its file's."""
    try:
        return digest(content)
    except ImageError:
        return digest_of_file(content)
