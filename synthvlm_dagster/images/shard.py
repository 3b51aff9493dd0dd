"""One shard of images: making what is planned and not present."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace

from synthvlm_dagster.images.batches import Batches
from synthvlm_dagster.images.generator import Drawn, Generator
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.images.pipeline import draw_images
from synthvlm_dagster.images.provenance import image_provenance
from synthvlm_dagster.images.soundness import image_problem
from synthvlm_dagster.images.state import PlannedImages
from synthvlm_dagster.images.table import EncodedImage, Try, encode_image, failed_rows, image_rows, tries
from synthvlm_dagster.models.held import HeldModels
from synthvlm_dagster.progress import Progress
from synthvlm_dagster.store.chunks import write_chunk

_CHUNKS_BEHIND = 2
"""Chunks that may wait to be written; each is held in memory."""

Result = EncodedImage | str
"""An image file, or why there is none."""


@dataclass(frozen=True)
class ShardSummary:
    """What `generate_shard` found and did."""

    shard: str
    table: str
    planned: int
    quarantined: tuple[str, ...] = ()
    """New paths of chunk files that were damaged."""
    made: int = 0
    retried: int = 0
    """Pictures that could not be used, and were drawn again from another seed."""
    failures: Counter[str] = field(default_factory=Counter)
    """Images given up now, by what was wrong with their last picture."""
    seconds: float = 0.0
    """Wall-clock time from the first noise to the last file; 0 when nothing was missing."""
    load_seconds: float = 0.0
    """Time that loading the model took before that; 0 when it was loaded or not needed."""
    peak_memory: int | None = None
    """Most bytes of device memory in use; None where the device does not count them, or nothing was made."""

    @property
    def images_per_second(self) -> float:
        """Images made per second; 0 when none were."""
        return self.made / self.seconds if self.made else 0.0


def generate_shard(
    images: PlannedImages,
    generator: Generator,
    on_progress: Callable[[str], None] = lambda _: None,
    batches: Batches | None = None,
    on_warning: Callable[[str], None] | None = None,
    held: HeldModels | None = None,
) -> ShardSummary:
    """Make the images of a shard that are planned and not present, in chunks that each appear whole.

    Killed at any moment, it loses the chunk in work (`recipe.generation.images_per_chunk` images), what is on its way
    behind it (two batches, and two chunks where the store is slower than the model), and nothing else. Cancelled, by an
    interrupt in the main thread, or failed, it loses no more than the batch in work and the one before it, which is
    still being decoded. Called for a complete shard, it asks the generator for nothing.

    A picture that the generator calls unusable, or that is black or flat, goes to no table but that of failed tries,
    and is drawn again from another seed, `recipe.generation.retries` times at most.

    Args:
        images: of one shard, read with `on_damage`; knows afterwards what has been made.
        generator: shared by all shards of a run, so that its model is loaded once.
        on_progress: gets a line every ten seconds, from a thread of its own, and one at the end.
        batches: shared by all shards of a run; None: the recipe's batch size to begin with.
        on_warning: gets a sentence for whatever is out of order; None: `on_progress` gets it.
        held: shared by all shards that share the generator.

    Raises:
        StorageError: the store cannot be written; finished chunks stay.
        ModelError: the generator's model cannot be loaded, or its files have been changed since it was.
        RecipeError: the model does not fit the recipe's other settings, or the device's memory not even one image.
    """
    recipe, shard = images.recipe, images.shard
    if shard is None:
        raise ValueError("images are made of one shard at a time")
    on_warning = on_warning or on_progress
    said, warned = _in_shard(shard, on_progress), _in_shard(shard, on_warning)
    found = ShardSummary(shard, images.table, images.plan.height, images.quarantined)
    if images.missing.is_empty():
        failed = f", {images.failed.height} could not be made" if images.failed.height else ""
        said(f"all {images.present.height} images are present{failed}")
        return found
    if load_seconds := generator.load(said):
        said(f"loaded the model in {load_seconds:.1f} s")

    (held or HeldModels()).require(recipe.generation.model, images.generator, generator_name(recipe))
    generator.peak_memory()
    began = time.monotonic()
    drawing = _Drawing(images, shard, generator, batches or Batches(recipe.generation), on_progress, on_warning)
    pending = tries(recipe, images.missing)
    made = retried = 0
    failures: Counter[str] = Counter()
    while pending:
        bad = drawing.draw(pending)
        made += len(pending) - len(bad)
        pending = [one.again(recipe.seed) for one in bad if one.retry < recipe.generation.retries]
        retried += len(pending)
        failures.update(problem for one, problem in bad.items() if one.retry >= recipe.generation.retries)
        if pending:
            warned(f"{len(pending)} pictures cannot be used ({_listed(Counter(bad.values()))}); trying other seeds")
    summary = replace(
        found,
        made=made,
        retried=retried,
        failures=failures,
        seconds=time.monotonic() - began,
        load_seconds=load_seconds,
        peak_memory=generator.peak_memory(),
    )
    lost = f"; {failures.total()} could not be made ({_listed(failures)})" if failures else ""
    said(
        f"complete with {images.present.height} images; {made} made in {summary.seconds:.1f} s, "
        f"{summary.images_per_second:.2f} images/s{lost}"
    )
    return summary


class _Drawing:
    """Draws images of one shard and writes them in chunks."""

    def __init__(
        self,
        images: PlannedImages,
        shard: str,
        generator: Generator,
        batches: Batches,
        on_progress: Callable[[str], None],
        on_warning: Callable[[str], None],
    ) -> None:
        self._images = images
        self._recipe = images.recipe
        self._shard = shard
        self._generator = generator
        self._name = images.generator
        self._batches = batches
        self._on_progress = on_progress
        self._on_warning = on_warning

    def draw(self, tried: Sequence[Try]) -> dict[Try, str]:
        """Draw once; returns what is wrong with those that cannot be used.

        A chunk is written when all its images are drawn, while the next are drawn; when the work is cancelled or fails,
        what is there of it. Chunks are cut of the tries before anything is known of the pictures, so that the same
        tries always make the same files.
        """
        size = self._recipe.generation.images_per_chunk
        chunk_of = {one: number // size for number, one in enumerate(tried)}
        results: list[dict[Try, Future[Result]]] = [{} for _ in range(0, len(tried), size)]
        writes: deque[Future[dict[Try, str]]] = deque()
        bad: dict[Try, str] = {}
        with (
            Progress(f"images of shard {self._shard}", self._on_progress, len(tried)) as progress,
            ThreadPoolExecutor(1, "write") as writer,
            closing(draw_images(self._generator, tried, self._batches, self._finish, self._on_warning)) as drawn,
        ):
            done = 0
            try:
                for done, (one, result) in enumerate(drawn, start=1):
                    number = chunk_of[one]
                    results[number][one] = result
                    chunk = tried[number * size : (number + 1) * size]
                    if len(results[number]) == len(chunk):
                        writes.append(self._send(writer, chunk, results[number]))
                        results[number] = {}
                    while writes and (len(writes) > _CHUNKS_BEHIND or writes[0].done()):
                        bad |= writes.popleft().result()
                    progress.report(done)
            # Cancelled, or failed: what has been drawn is kept, in chunks that are not full.
            except BaseException:
                for part in filter(None, results):
                    self._send(writer, list(part), part)
                _in_shard(self._shard, self._on_warning)(f"stopped; the {done} pictures that were drawn are kept")
                raise
            for write in writes:
                bad |= write.result()
        return bad

    def _send(
        self, writer: ThreadPoolExecutor, chunk: Sequence[Try], results: dict[Try, Future[Result]]
    ) -> Future[dict[Try, str]]:
        truncated = self._generator.truncated([one.text for one in chunk])
        return writer.submit(self._write, chunk, truncated, results)

    def _finish(self, one: Try, drawn: Drawn) -> Result:
        from PIL import Image

        if drawn.image is None:
            return drawn.problem or "no image"
        problem = drawn.problem or image_problem(drawn.image)
        generation = self._recipe.generation
        provenance = image_provenance(generation, self._name, one.image_id, one.text, one.seed)
        return problem or encode_image(Image.fromarray(drawn.image), generation, provenance)

    def _write(
        self, chunk: Sequence[Try], truncated: Sequence[bool], results: dict[Try, Future[Result]]
    ) -> dict[Try, str]:
        """Write a chunk's images, and what could not be used; returns the latter."""
        images: list[tuple[Try, EncodedImage, bool]] = []
        bad: dict[Try, str] = {}
        for one, cut in zip(chunk, truncated, strict=True):
            result = results[one].result()
            if isinstance(result, str):
                bad[one] = result
            else:
                images.append((one, result, cut))
        if images:
            rows = image_rows(self._recipe, *zip(*images, strict=True))
            path = write_chunk(self._images.storage, self._images.table, rows)
            self._images.wrote_images(path, rows)
        if bad:
            rows = failed_rows(list(bad), list(bad.values()))
            path = write_chunk(self._images.storage, self._images.failed_table, rows)
            self._images.wrote_failures(path, rows)
        return bad


def _in_shard(shard: str, on_progress: Callable[[str], None]) -> Callable[[str], None]:
    return lambda message: on_progress(f"shard {shard}: {message}")


def _listed(problems: Counter[str]) -> str:
    return ", ".join(f"{count} {problem}" for problem, count in problems.most_common())
