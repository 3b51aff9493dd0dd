"""Croissant metadata (http://mlcommons.org/croissant/1.0) of a folder of parquet files with images.

With the responsible-AI properties of http://mlcommons.org/croissant/RAI/1.0 and W3C PROV's words for where the data
comes from.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from synthvlm_dagster.dataset.exports.card import (
    BIASES,
    CITATION,
    LIMITATIONS,
    MARKING,
    generator_facts,
    selection_statement,
)
from synthvlm_dagster.dataset.settings import source_name
from synthvlm_dagster.images.licences import licence_statement
from synthvlm_dagster.images.provenance import model_label
from synthvlm_dagster.recipe import Recipe

if TYPE_CHECKING:
    import pyarrow

_CONFORMS_TO = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_FILE_SET = "parquet-files"
_RECORD_SET = "pairs"
_READ_BYTES = 1 << 20


def croissant(
    recipe: Recipe, folder: Path, schema: pyarrow.Schema, descriptions: dict[str, str], pairs: int
) -> dict[str, Any]:
    """The metadata of a folder whose parquet files stand in `data/`.

    Args:
        recipe: what made the pairs.
        folder: holds the finished files; they are read to digest them.
        schema: of the parquet files; the column `image` is {bytes, path}.
        descriptions: what each column holds.
        pairs: number of rows.
    """
    exports = recipe.exports
    document: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": _CONFORMS_TO,
        "name": recipe.name,
        "description": f"{recipe.description} {pairs:,} synthetic image-caption pairs made after SynthVLM.".strip(),
        "license": exports.licence or f"not stated; generator: {licence_statement(recipe.generation)}",
        "version": "1.0.0",
        "keywords": ["synthetic", "image captioning", "vision-language", "SynthVLM"],
        "isLiveDataset": False,
        "citeAs": CITATION,
        "distribution": [
            *(_file_object(folder, file) for file in sorted((folder / "data").iterdir())),
            {
                "@type": "cr:FileSet",
                "@id": _FILE_SET,
                "name": _FILE_SET,
                "description": "The parquet files.",
                "encodingFormat": "application/x-parquet",
                "includes": "data/*.parquet",
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": _RECORD_SET,
                "name": _RECORD_SET,
                "description": "One record is one selected pair of image and caption.",
                "key": {"@id": f"{_RECORD_SET}/image_id"},
                "field": [_field(column, descriptions[column.name]) for column in schema],
            }
        ],
        **_responsible_ai(recipe),
    }
    if exports.creator:
        document["creator"] = {"@type": "Organization", "name": exports.creator}
    # As the recipe says, not the day of this run: equal pairs give equal files.
    if exports.published:
        document["datePublished"] = exports.published.isoformat()
    if exports.url:
        document["url"] = exports.url
    return document


def sha256(stream: IO[bytes]) -> str:
    """SHA-256 of the rest of a stream, hexadecimal."""
    digest = hashlib.sha256()
    while block := stream.read(_READ_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _file_object(folder: Path, file: Path) -> dict[str, Any]:
    name = file.relative_to(folder).as_posix()
    with file.open("rb") as stream:
        digest = sha256(stream)
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{file.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": digest,
    }


def _field(column: pyarrow.Field, description: str) -> dict[str, Any]:
    from pyarrow import types

    source: dict[str, Any] = {"fileSet": {"@id": _FILE_SET}, "extract": {"column": column.name}}
    if types.is_struct(column.type):
        kind = "sc:ImageObject"
        source["transform"] = {"jsonPath": "bytes"}
    elif types.is_integer(column.type):
        kind = "sc:Integer"
    elif types.is_floating(column.type):
        kind = "sc:Float"
    elif types.is_boolean(column.type):
        kind = "sc:Boolean"
    else:
        kind = "sc:Text"
    name = f"{_RECORD_SET}/{column.name}"
    return {
        "@type": "cr:Field",
        "@id": name,
        "name": column.name,
        "description": description,
        "dataType": kind,
        "source": source,
    }


def _responsible_ai(recipe: Recipe) -> dict[str, Any]:
    generator = ", ".join(f"{name} {value}" for name, value in generator_facts(recipe).items())
    return {
        "rai:dataCollection": "Captions were read from existing caption files and curated by rules; a diffusion model "
        f"made an image for each ({generator}); CLIPScore and SSIM were measured. {selection_statement(recipe)}",
        "rai:dataCollectionType": ["Others: synthesis of images from text by a diffusion model"],
        "rai:dataCollectionRawData": "Captions of: " + "; ".join(source_name(source) for source in recipe.sources),
        "rai:dataPreprocessingProtocol": [
            "Rules on the captions' characters, words and repetitions (SynthVLM, table 1)"
        ],
        "rai:machineAnnotationTools": [f"open_clip {model_label(recipe.scoring.clip.model)}", "SSIM"],
        "rai:dataBiases": list(BIASES),
        "rai:dataLimitations": list(LIMITATIONS),
        "rai:dataUseCases": ["Training vision-language models to align images with text"],
        "rai:dataSocialImpact": MARKING,
        "rai:personalSensitiveInformation": ["Captions are not searched for it; images can resemble real people"],
        "rai:hasSyntheticData": True,
        "prov:wasDerivedFrom": [source_name(source) for source in recipe.sources],
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "name": "synthesis",
            "description": f"Images made by {generator}",
        },
    }
