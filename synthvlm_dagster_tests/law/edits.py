"""What can happen to a project between two runs, each as a value that prints as what it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from synthvlm_dagster_tests.law.project import Project
from synthvlm_dagster_tests.law.world import BASE, MAIN_COLUMNS, MODEL_FILES, MODELS, WEIGHTS, WORDS, source


class Edit(Protocol):
    """One thing that happens."""

    def apply(self, project: Project) -> None:
        """Let it happen.

        Raises:
            pydantic.ValidationError: it cannot, as the recipe is now; nothing has changed.
        """
        ...


_JUDGE = {"base_url": "http://localhost:1/v1", "model": "asked"}
_CLIP = {"model": "@/models/clip", "pretrained": None}
_OTHER_CLIP = {"model": "ViT-B-32", "pretrained": "openai"}
_SIMILARITY = {"model": None, "min": 0.1}
_KENLM = {"model": "@/models/en.arpa", "sentencepiece": "@/models/en.sp.model"}
_LORA = {"model": "@/models/lora", "scale": 0.5}
_COMPARISON = {
    "name": "other",
    "path": "@/comparison/pairs.jsonl",
    "format": "jsonl",
    "columns": {"text": "caption", "image": "image"},
    "image_root": "@/comparison/images",
    "sample": 5,
}
_SIGLIP = {"siglip": {"model": "@/models/siglip", "pretrained": None}}
_DISAGREEMENT = {"judge": "siglip_score", "share": 0.2}


def _bounds(*values: Any) -> tuple[Any, ...]:
    return (None, *values)


CHOICES: dict[str, tuple[Any, ...]] = {
    "name": ("law", "another-law"),
    "description": ("Shapes and scenes.", "Scenes & *shapes*."),
    "seed": (7, 8),
    "shards": (2, 1, 3),
    "sources": (
        BASE["sources"],
        [source("more"), source("main")],
        [source("main")],
        [source("main"), source("more"), source("extra")],
        [source("main", limit=5), source("more")],
        [source("main", columns={"text": "caption"}), source("more")],
        [source("main", columns=MAIN_COLUMNS | {"clip_similarity": "nsfw"}), source("more")],
        [source("main", columns=MAIN_COLUMNS | {"watermark_score": "nsfw", "nsfw_score": "watermark"})],
        [source("main", image_root="@/comparison/images"), source("more")],
        [{**source("main"), "name": "renamed"}, source("more")],
        [source("main"), source("extra", column_names=["b", "caption"])],
        [source("main"), source("extra", path="@/captions/extra-header.csv", header=True, column_names=None)],
        [source("main"), source("extra", path="@/captions/extra-semicolons.csv", separator=";")],
        [source("main", format="auto"), source("more", max_bad_share=0.5)],
        [source("main", columns=MAIN_COLUMNS | {"text": "image"}), source("more")],
    ),
    "curation.text_template": ("<image>\n{caption} <|__dj__eoc|>", "{caption}"),
    "curation.order": ([], ["num_words", "duplicates"], ["duplicates", "flagged_words_ratio"]),
    "curation.flagged_words": ("@/words.txt", None),
    "curation.rules.text_length": _bounds({"min": 30}, {"max": 61}),
    "curation.rules.num_words": ({"min": 3}, {"min": 10}, {"max": 12}, None),
    "curation.rules.alnum_ratio": ({"min": 0.6}, {"min": 0.72}, {"max": 0.74}, None),
    "curation.rules.special_char_ratio": _bounds({"min": 0.25}, {"max": 0.27}),
    "curation.rules.flagged_words_ratio": ({"max": 0.0}, {"max": 0.5}, {"min": 0.01}, None),
    "curation.rules.word_rep_ratio": ({"max": 0.03085751}, {"max": 0.9}, {"min": 0.01}, None),
    "curation.rules.char_rep_ratio": ({"max": 0.09373663}, {"max": 0.9}, {"max": 0.02}, {"min": 0.03}, None),
    "curation.rules.watermark_score": (
        {"max": 0.95},
        {"max": 0.5},
        {"min": 0.3},
        {"max": 0.5, "if_not_measured": "reject"},
        None,
    ),
    "curation.rules.nsfw_score": _bounds({"max": 0.6}, {"min": 0.3}, {"max": 0.6, "if_not_measured": "reject"}),
    "curation.rules.language": _bounds({}, {"keep": ["de"]}, {"keep": ["en", "de"], "min_score": 0.5}),
    "curation.rules.image_text_similarity": _bounds(
        _SIMILARITY,
        {**_SIMILARITY, "max": 0.8},
        {**_SIMILARITY, "min": 0.5},
        {**_SIMILARITY, "if_not_measured": "reject"},
        {**_CLIP, "min": 0.3},
        {**_OTHER_CLIP, "min": 0.3},
        {**_OTHER_CLIP, "min": 0.3, "dtype": "float16"},
        {"model": "ViT-B-32", "pretrained": "@/models/clip-weights.pt", "min": 0.3},
    ),
    "curation.rules.duplicates": (
        {"method": "exact"},
        {"method": "near"},
        {"method": "near", "similarity": 0.5},
        None,
    ),
    "curation.rules.perplexity": _bounds(
        {"kenlm": _KENLM},
        {"kenlm": _KENLM, "max": 3000},
        {"kenlm": _KENLM, "min": 1000},
        {"kenlm": {**_KENLM, "model": "@/models/en.sp.model"}},
        {"kenlm": {**_KENLM, "sentencepiece": "@/models/en.arpa"}},
        {"causal_lm": {"model": "org/language"}},
        {"causal_lm": {"model": "org/language", "revision": "v2"}, "if_not_measured": "reject"},
        {"causal_lm": {"model": "org/other-language", "dtype": "float16"}},
    ),
    "curation.rules.image_text_matching": _bounds(
        {"model": "@/models/blip", "min": 0.2},
        {"model": "@/models/blip", "min": 0.6},
        {"model": "@/models/blip", "min": 0.2, "max": 0.9, "if_not_measured": "reject"},
        {"model": "org/blip", "min": 0.2},
        {"model": "org/blip", "min": 0.2, "revision": "v2", "dtype": "float16"},
    ),
    "curation.rules.judge": _bounds(
        _JUDGE,
        {**_JUDGE, "model": "another"},
        {**_JUDGE, "question": "Good? {caption}", "max_tokens": 9},
        {**_JUDGE, "if_not_measured": "reject"},
    ),
    "curation.rules.keep_top": _bounds({"share": 0.4}, {"share": 0.7}, {"share": 0.7, "if_not_measured": "reject"}),
    "attempts": (
        {"per_caption": 2},
        {"per_caption": 1},
        {"per_caption": 3},
        {"per_caption": 2, "max_captions": 4},
        {"per_caption": 2, "max_captions": 6},
        {"until": 0.9, "max": 3},
        {"until": 0.9, "max": 4},
        {"until": 1.1, "max": 4},
        {"until": 0.9, "min": 2, "max": 4},
        {"until": 0.9, "max": 4, "budget": 1.5},
        {"until": 0.9, "max": 4, "budget": 2.5},
        {"until": 0.9, "max": 4, "ssim_weight": 0.1},
        {"until": 0.9, "max": 3, "max_captions": 5},
    ),
    "generation.generator": ("auto", "sdxl"),
    "generation.model": ("@/models/painter", "@/models/other-painter", "org/painter"),
    "generation.revision": (None, "v2"),
    "generation.variant": (None, "fp16"),
    "generation.refiner": _bounds(
        {"model": "@/models/refiner"},
        {"model": "@/models/refiner", "handover": 0.7},
        {"model": "org/refiner"},
        {"model": "org/refiner", "revision": "v2", "variant": "fp16"},
    ),
    "generation.vae": _bounds({"model": "@/models/vae"}, {"model": "org/vae"}, {"model": "org/vae", "revision": "v2"}),
    "generation.loras": (
        [],
        [_LORA],
        [{**_LORA, "scale": 1.0}],
        [{**_LORA, "weight_name": "weights.safetensors"}],
        [{"model": "org/lora"}],
        [{"model": "org/lora", "revision": "v2"}, _LORA],
    ),
    "generation.quantization": _bounds(
        {"backend": "quanto"},
        {"backend": "torchao", "kwargs": {"quant_type": "int8"}},
        {"backend": "torchao", "components": ["unet"]},
    ),
    "generation.scheduler": _bounds(
        {"name": "DDIMScheduler"},
        {"name": "DDIMScheduler", "config": {"eta": 0.5}},
        {"name": "EulerDiscreteScheduler"},
    ),
    "generation.num_inference_steps": (2, 3),
    "generation.guidance_scale": (5.0, 3.0),
    "generation.guidance_rescale": (0.0, 0.7),
    "generation.guidance_end": (1.0, 0.5),
    "generation.negative_prompt": (None, "blurred"),
    "generation.long_prompts": ("truncate", "chunk"),
    "generation.width": (16, 24),
    "generation.height": (16, 24),
    "generation.dtype": ("float32", "bfloat16"),
    "generation.images_per_chunk": (3, 2, 7),
    "generation.retries": (1, 0, 2),
    "generation.image_format": ("png", "jpeg", "webp"),
    "generation.image_quality": (95, 60),
    "generation.licence": (None, "Apache-2.0"),
    "scoring.clip": (
        _CLIP,
        {**_CLIP, "prompt_prefix": ""},
        {**_CLIP, "dtype": "bfloat16"},
        {"model": "@/models/siglip", "pretrained": None},
        _OTHER_CLIP,
        {"model": "ViT-B-32", "pretrained": "@/models/clip-weights.pt"},
    ),
    "scoring.ssim": (
        {"reduced_size": 8},
        {"reduced_size": None},
        {"reduced_size": 11},
        {"reduced_size": 8, "channels": "rgb"},
        {"reduced_size": 8, "window": "gaussian"},
    ),
    "scoring.judges": (
        {},
        _SIGLIP,
        {"siglip": {"model": "@/models/siglip", "pretrained": None, "prompt_prefix": "A photo of "}},
        {"siglip": {"model": "ViT-B-16-SigLIP", "pretrained": "webli", "dtype": "bfloat16"}},
        {"vqa": {"model": "@/models/vqa"}},
        {"vqa": {"model": "@/models/vqa", "revision": "v2"}},
        {"vqa": {"model": "org/vqa", "question": "{caption}?", "answer": "Sure"}},
        {"vqa": {"model": "org/vqa", "revision": "v2", "dtype": "bfloat16"}, **_SIGLIP},
        {"aesthetic": {"predictor": "@/models/predictor.safetensors"}},
        {"aesthetic": {"predictor": "@/models/en.arpa", "dtype": "bfloat16", **_CLIP}},
        {"safety": {"classifiers": [{"model": "@/models/classifier", "labels": ["bad"]}]}},
        {
            "safety": {
                "classifiers": [{"model": "org/classifier", "revision": "v2", "labels": ["bad", "worse"]}],
                "dtype": "bfloat16",
            }
        },
    ),
    "selection": (
        {"share": 0.5},
        {"share": 0.29},
        {"count": 3},
        {"count": 9},
        {"count": 5},
        {"share": 0.5, "ssim_weight": 2.0},
        {"share": 0.5, "strategy": "zscore"},
        {"share": 0.5, "strategy": "clip-only"},
        {"share": 0.5, "strategy": "ssim-only"},
        {"share": 0.5, "strategy": "random"},
        {"share": 0.5, "allow_missing": 0.5},
        {"count": 2, "strategy": "audited", "audit": {"near_duplicates": {"similarity": 0.8}}},
        {"count": 2, "strategy": "audited", "audit": {"near_duplicates": {"similarity": 0.6, "cluster_size": 3}}},
        {"count": 3, "strategy": "audited", "audit": {"quotas": {"concepts": 3}}},
        {"count": 3, "strategy": "audited", "audit": {"quotas": {"concepts": 2, "at_least": 1.0, "at_most": 1.0}}},
        {"count": 3, "strategy": "audited", "audit": {"disagreement": _DISAGREEMENT}},
        {"count": 3, "strategy": "audited", "audit": {"disagreement": {**_DISAGREEMENT, "share": 0.4}}},
        {
            "count": 3,
            "strategy": "audited",
            "audit": {"disagreement": {"judge": "siglip_score", "max_difference": 0.4}},
        },
        {
            "count": 3,
            "strategy": "audited",
            "audit": {"disagreement": {"judge": "vqa_score", "max_difference": 0.6}},
        },
    ),
    "exports.licence": (None, "cc-by-4.0"),
    "exports.creator": (None, "The Makers"),
    "exports.url": (None, "https://example.org/law"),
    "exports.published": (None, "2026-02-03"),
    "exports.llava": ({}, {"image_size": 8}, None),
    "exports.webdataset": ({"pairs_per_tar": 3}, {"pairs_per_tar": 2}, None),
    "exports.huggingface": ({}, {"megabytes_per_file": 0.001}, None),
    "report.gallery_pairs": (4, 0, 6),
    "comparisons": (
        [],
        [_COMPARISON],
        [{**_COMPARISON, "sample": 3}],
        [{**_COMPARISON, "name": "renamed"}],
        [{**_COMPARISON, "image_root": "@/comparison/copies"}],
        [{**_COMPARISON, "limit": 4}, {**_COMPARISON, "name": "second", "format": "auto"}],
        [{**_COMPARISON, "path": "@/captions/main.jsonl"}],
        [{**_COMPARISON, "columns": {"text": "image", "image": "image"}}],
        [{**_COMPARISON, "columns": {"text": "caption", "image": "caption"}, "max_bad_share": 0.9}],
    ),
}
"""For fields and sections of the recipe, values to choose among; the first is that of the recipe to begin with."""

SHAPES_NOTHING: dict[str, str] = {
    "storage": "where the store is; the edit MoveStorage moves it",
    "shards_per_run": "how many shards one run of Dagster takes",
    "operations": "what runs by itself, and when; nothing of it is in a table",
    "curation.rules.perplexity.causal_lm.batch_size": "how many are measured together",
    "curation.rules.perplexity.causal_lm.device": "where it is computed",
    "curation.rules.image_text_similarity.batch_size": "how many are measured together",
    "curation.rules.image_text_similarity.device": "where it is computed",
    "curation.rules.image_text_matching.batch_size": "how many are measured together",
    "curation.rules.image_text_matching.device": "where it is computed",
    "curation.rules.judge.base_url": "a model that moves to another server gives the same answers",
    "curation.rules.judge.api_key_variable": "a way in",
    "curation.rules.judge.concurrency": "how it is asked",
    "curation.rules.judge.requests_per_minute": "how it is asked",
    "curation.rules.judge.max_retries": "how it is asked",
    "curation.rules.judge.timeout_seconds": "how it is asked",
    "curation.rules.judge.price_per_million_input_tokens": "for the cost in Dagster's metadata",
    "curation.rules.judge.price_per_million_output_tokens": "for the cost in Dagster's metadata",
    "generation.preset": "a fragment that the recipe's text is laid over; it is gone when the recipe is read",
    "generation.device": "where it is computed",
    "generation.compile": "how it is computed",
    "generation.fuse_qkv": "how it is computed",
    "generation.batch_size": "how many are drawn together",
    "generation.accept_licence": "a word without which nothing is made",
    "generation.content_credentials": "signatures of files, no two of which are equal",
    "generation.price_per_gpu_hour": "for the cost, which follows from Dagster's history",
    "scoring.batch_size": "how many are measured together",
    "scoring.device": "where it is computed",
    "scoring.judges.vqa.batch_size": "how many are measured together",
    "comparisons.separator": "read as the sources' are: the whole section shapes the comparison",
    "comparisons.header": "read as the sources' are: the whole section shapes the comparison",
    "comparisons.column_names": "read as the sources' are: the whole section shapes the comparison",
    "comparisons.columns.clip_similarity": "a comparison's similarity is measured, never read",
    "comparisons.columns.watermark_score": "a comparison has no rules",
    "comparisons.columns.nsfw_score": "a comparison has no rules",
}
"""Fields and sections that no edit touches, each with the reason why nothing in the store depends on them."""


@dataclass(frozen=True)
class Set:
    """The recipe says something else."""

    field: str
    choice: int

    def apply(self, project: Project) -> None:
        project.world.set(self.field, self.value)

    @property
    def value(self) -> Any:
        return CHOICES[self.field][self.choice]

    def __str__(self) -> str:
        return f"{self.field}: {self.value}"


@dataclass(frozen=True)
class Write:
    """A file has another content, though the same size and time."""

    path: str
    version: str

    def apply(self, project: Project) -> None:
        project.world.write(self.path, self.version)

    def __str__(self) -> str:
        return f"write {self.path} ({self.version})"


@dataclass(frozen=True)
class AddCaption:
    """A caption more, at the end of a file, unless it is there."""

    file: str
    number: int

    def apply(self, project: Project) -> None:
        now = project.world.captions[self.file]
        project.world.write_captions(self.file, [*(each for each in now if each != self.number), self.number])

    def __str__(self) -> str:
        return f"add caption {self.number} at the end of {self.file}"


@dataclass(frozen=True)
class RemoveCaption:
    """A caption less."""

    file: str
    place: int

    def apply(self, project: Project) -> None:
        now = project.world.captions[self.file]
        if len(now) > 2:
            place = self.place % len(now)
            project.world.write_captions(self.file, now[:place] + now[place + 1 :])

    def __str__(self) -> str:
        return f"remove the caption at place {self.place} of {self.file}"


@dataclass(frozen=True)
class ChangeCaption:
    """Another caption in the place of one."""

    file: str
    place: int
    number: int

    def apply(self, project: Project) -> None:
        now = list(project.world.captions[self.file])
        if self.number not in now:
            now[self.place % len(now)] = self.number
            project.world.write_captions(self.file, now)

    def __str__(self) -> str:
        return f"put caption {self.number} at place {self.place} of {self.file}"


@dataclass(frozen=True)
class CutFile:
    """A file of the store loses its second half."""

    folder: str
    number: int

    def apply(self, project: Project) -> None:
        if file := project.file_of_store(self.folder, self.number):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    def __str__(self) -> str:
        return f"cut file {self.number} of {self.folder}"


@dataclass(frozen=True)
class ChangeByte:
    """A file of the store holds something else, and is as long as it was."""

    folder: str
    number: int

    def apply(self, project: Project) -> None:
        if file := project.file_of_store(self.folder, self.number):
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)

    def __str__(self) -> str:
        return f"change a byte of file {self.number} of {self.folder}"


@dataclass(frozen=True)
class DeleteFile:
    """A file of the store is gone."""

    folder: str
    number: int

    def apply(self, project: Project) -> None:
        if file := project.file_of_store(self.folder, self.number):
            file.unlink()

    def __str__(self) -> str:
        return f"delete file {self.number} of {self.folder}"


@dataclass(frozen=True)
class DeleteFolder:
    """A table or an export is gone."""

    folder: str

    def apply(self, project: Project) -> None:
        project.delete_from_store(self.folder)

    def __str__(self) -> str:
        return f"delete {self.folder}"


@dataclass(frozen=True)
class ForgetHistory:
    """Dagster's database is gone."""

    def apply(self, project: Project) -> None:
        project.forget_history()

    def __str__(self) -> str:
        return "delete the Dagster home"


@dataclass(frozen=True)
class MoveStorage:
    """The store lies in another folder, and the recipe says so."""

    def apply(self, project: Project) -> None:
        project.move_storage()

    def __str__(self) -> str:
        return "move the storage folder"


@dataclass(frozen=True)
class RunSome:
    """A run of some assets alone, which may fail for want of others."""

    selection: str

    def apply(self, project: Project) -> None:
        project.run_some(self.selection)

    def __str__(self) -> str:
        return f"run --select '{self.selection}'"


@dataclass(frozen=True)
class RunShards:
    """A run of some shards alone."""

    shards: tuple[str, ...]

    def apply(self, project: Project) -> None:
        project.run_shards(self.shards)

    def __str__(self) -> str:
        return f"run --shards {','.join(self.shards)}"


@dataclass(frozen=True)
class RunWith:
    """A run of one asset from the launchpad with settings of its own, which may fail for want of others."""

    op: str
    settings: tuple[tuple[str, Any], ...]

    def apply(self, project: Project) -> None:
        project.run_with_settings(self.op, dict(self.settings))

    def __str__(self) -> str:
        return f"launchpad: {self.op} with {dict(self.settings)}"


def of_recipe() -> Iterator[Edit]:
    """Edits of the recipe."""
    for field, values in CHOICES.items():
        # Last the one that is there to begin with, since hypothesis begins with what comes first.
        yield from (Set(field, choice) for choice in (*range(1, len(values)), 0))


def of_captions() -> Iterator[Edit]:
    """Edits of the caption files."""
    for file, number in (("main", 14), ("main", 19), ("main", 20), ("more", 15), ("more", 2), ("more", 21)):
        yield AddCaption(file, number)
    for file, place in (("main", 0), ("main", 2), ("main", 5), ("more", 0), ("more", 3)):
        yield RemoveCaption(file, place)
    for file, place, number in (("main", 1, 16), ("main", 3, 18), ("more", 1, 17), ("more", 2, 3)):
        yield ChangeCaption(file, place, number)


def of_files() -> Iterator[Edit]:
    """Edits of word lists, models and comparisons in place."""
    yield from (Write("words.txt", version) for version in WORDS)
    yield from (Write("comparison/pairs.jsonl", version) for version in WEIGHTS)
    for version in reversed(WEIGHTS):
        yield from (Write(f"models/{name}/weights.safetensors", version) for name in MODELS)
        yield from (Write(f"models/{name}", version) for name in MODEL_FILES)


def of_store() -> Iterator[Edit]:
    """What befalls the store and Dagster's database."""
    yield DeleteFile("plans/attempts", 1)
    for folder in ("images", "scores", "embeddings", "failed_images"):
        yield from (CutFile(folder, number) for number in (0, 3))
        yield DeleteFile(folder, 1)
    for folder in ("dataset/llava", "dataset/webdataset", "dataset/huggingface", "dataset/report"):
        yield from (DeleteFile(folder, number) for number in (0, 1, 2))
        yield from (ChangeByte(folder, number) for number in (1, 2))
        yield DeleteFolder(folder)
    yield ChangeByte("dataset/card", 1)
    for folder in (
        "captions/raw",
        "captions/curated",
        "captions/rejected",
        "captions/kept_by_template",
        "plans/attempts",
        "dataset/selected",
        "dataset/set_aside",
        "dataset/references",
        "dataset/card",
        "images",
        "scores",
    ):
        yield DeleteFolder(folder)
    yield ForgetHistory()
    yield MoveStorage()


def of_runs() -> Iterator[Edit]:
    """Runs of a part, and with settings for one run."""
    for selection in (
        "key:raw_captions",
        "group:captions",
        "key:planned_attempts",
        "key:generated_images",
        "key:image_scores",
        "key:selected_pairs",
        "key:llava_dataset",
        "key:dataset_card",
        "key:quality_report",
    ):
        yield RunSome(selection)
    yield RunShards(("0000",))
    for op, name, value in (
        ("curate", "rules_off", ("num_words",)),
        ("curate", "num_words", {"min": 9, "max": None}),
        ("planned_attempts", "max_captions", 3),
        ("planned_attempts", "per_caption", 3),
        ("planned_attempts", "max", 4),
        ("selected_pairs", "count", 2),
        ("selected_pairs", "strategy", "clip-only"),
        ("selected_pairs", "ssim_weight", 3.0),
    ):
        yield RunWith(op, ((name, list(value) if isinstance(value, tuple) else value),))


KINDS = (of_recipe, of_captions, of_files, of_store, of_runs)
EVERY_EDIT: tuple[Edit, ...] = tuple(edit for kind in KINDS for edit in kind())
