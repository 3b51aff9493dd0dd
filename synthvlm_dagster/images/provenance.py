"""Marking images as synthetic, in metadata that machines read (XMP).

EU AI Act (Regulation 2024/1689) Art. 50(2) asks providers of systems that generate images to mark them as artificially
generated in a machine-readable format. The mark is IPTC's Digital Source Type with the value for what a trained model
made of nothing but a prompt (https://cv.iptc.org/newscodes/digitalsourcetype/), beside the properties for generated
images of the IPTC Photo Metadata Standard 2025.1 (https://iptc.org/std/photometadata/specification/IPTC-PhotoMetadata).
XMP says nothing of the pixels and does not change them. It is lost when a program saves the image without it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from synthvlm_dagster.image_decoding import open_image
from synthvlm_dagster.recipe import Generation

if TYPE_CHECKING:
    from PIL.Image import Image

TRAINED_ALGORITHMIC_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

_NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "synthvlm": "urn:synthvlm_dagster:provenance:1.0#",
}
CREATOR_TOOL = "synthvlm_dagster"
"""Without its version: a newer program makes the same file of the same row."""
_DIGEST = "sha256:"


@dataclass(frozen=True)
class Provenance:
    """Where a synthetic image comes from.

    Attributes:
        image_id: its name in the store.
        generator: name of the generator in the store, which holds a fingerprint of everything that changes its pixels.
        system: name of the diffusion model, with its refiner if it has one.
        system_version: hub revision of the model; None: not pinned, or a local folder.
        prompt_sha256: hexadecimal digest of the caption's UTF-8 bytes, which tells whether a caption is the image's
            without telling the caption.
        seed: of the torch.Generator that drew the initial noise, in [0, 2**63).
    """

    image_id: str
    generator: str
    system: str
    system_version: str | None
    prompt_sha256: str
    seed: int


def image_provenance(generation: Generation, generator: str, image_id: str, text: str, seed: int) -> Provenance:
    """Where the image of a caption comes from.

    Args:
        generation: names the models.
        generator: as `generator_name` gives it, which reads the models' folders: ask it once for many images.
        image_id: the image's name.
        text: its caption.
        seed: what it was drawn from.
    """
    models = [generation.model, *([generation.refiner.model] if generation.refiner else [])]
    return Provenance(
        image_id=image_id,
        generator=generator,
        system=" + ".join(model_label(model) for model in models),
        system_version=generation.hub_revision,
        prompt_sha256=prompt_digest(text),
        seed=seed,
    )


def prompt_digest(text: str) -> str:
    """SHA-256 of a caption's UTF-8 bytes, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def model_label(model: str) -> str:
    """A model's name without the folders of the machine that it lies on."""
    return model.rstrip("/").rpartition("/")[2] if model.startswith("/") else model


def synthetic_content_xmp(provenance: Provenance) -> bytes:
    """An XMP packet (ISO 16684-1) that marks an image as made by a trained model; equal facts, equal bytes."""
    properties = {
        "dc:identifier": provenance.image_id,
        "xmp:CreatorTool": CREATOR_TOOL,
        "Iptc4xmpExt:DigitalSourceType": TRAINED_ALGORITHMIC_MEDIA,
        "Iptc4xmpExt:AISystemUsed": provenance.system,
        "Iptc4xmpExt:AISystemVersionUsed": provenance.system_version,
        "Iptc4xmpExt:AIPromptInformation": f"{_DIGEST}{provenance.prompt_sha256}",
        "synthvlm:Generator": provenance.generator,
        "synthvlm:Seed": str(provenance.seed),
    }
    namespaces = "".join(f" xmlns:{prefix}={quoteattr(uri)}" for prefix, uri in _NAMESPACES.items())
    attributes = "".join(f"\n    {name}={quoteattr(value)}" for name, value in properties.items() if value is not None)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF{namespaces}>\n'
        f'  <rdf:Description rdf:about=""{attributes}/>\n'
        '</rdf:RDF></x:xmpmeta>\n<?xpacket end="r"?>'
    ).encode()


def embedded(image_format: str, provenance: Provenance) -> dict[str, Any]:
    """Parameters of Pillow's `Image.save` that write the mark into a file: JPEG APP1, PNG iTXt or a WebP chunk.

    Args:
        image_format: jpeg, png or webp.
        provenance: what to write.
    """
    packet = synthetic_content_xmp(provenance)
    if image_format != "png":
        return {"xmp": packet}
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode())
    return {"pnginfo": info}


def read_provenance(content: bytes) -> Provenance | None:
    """What an image file says of where it comes from; None where it carries no mark of this program.

    Args:
        content: bytes of a JPEG, PNG or WebP file.

    Raises:
        ImageError: the bytes are no image.
    """
    with open_image(content) as image:
        return provenance_of(image)


def provenance_of(image: Image) -> Provenance | None:
    """As `read_provenance`, of a file that is open already; its pixels need not be read."""
    packet = image.info.get("xmp")
    try:
        description = ElementTree.fromstring(packet or b"").find(".//rdf:Description", _NAMESPACES)
    except ElementTree.ParseError:
        return None
    if description is None:
        return None
    found = description.attrib
    try:
        if found[_name("Iptc4xmpExt:DigitalSourceType")] != TRAINED_ALGORITHMIC_MEDIA:
            return None
        return Provenance(
            image_id=found[_name("dc:identifier")],
            generator=found[_name("synthvlm:Generator")],
            system=found[_name("Iptc4xmpExt:AISystemUsed")],
            system_version=found.get(_name("Iptc4xmpExt:AISystemVersionUsed")),
            prompt_sha256=found[_name("Iptc4xmpExt:AIPromptInformation")].removeprefix(_DIGEST),
            seed=int(found[_name("synthvlm:Seed")]),
        )
    except (KeyError, ValueError):
        return None


def _name(qualified: str) -> str:
    """A property's name as ElementTree writes it: `{namespace}local`."""
    prefix, _, local = qualified.partition(":")
    return f"{{{_NAMESPACES[prefix]}}}{local}"
