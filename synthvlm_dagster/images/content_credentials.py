"""Content Credentials: a signed C2PA manifest in each image file, which shows its origin and that it is unchanged.

Specification: https://spec.c2pa.org (manifest with an action `c2pa.created` whose digitalSourceType is IPTC's
trainedAlgorithmicMedia). Whether a reader trusts the signature depends on its list of trusted certificates; that a file
was changed after it was signed shows without one.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.images.provenance import CREATOR_TOOL, TRAINED_ALGORITHMIC_MEDIA, Provenance
from synthvlm_dagster.recipe import ContentCredentials, Generation

if TYPE_CHECKING:
    import c2pa

_FIELD = "generation.content_credentials"


def sign(
    content: bytes,
    image_format: str,
    provenance: Provenance,
    credentials: ContentCredentials,
    edits: Sequence[str] = (),
) -> bytes:
    """The file with a signed manifest embedded; about 3 kB more. No two signatures are equal.

    Args:
        content: a whole image file, with all the metadata that it shall have.
        image_format: jpeg, png or webp.
        provenance: the system that the manifest names, and the image's name.
        credentials: what to sign with.
        edits: C2PA actions done to the image since a model made it, e.g. `c2pa.resized`.

    Raises:
        RecipeError: the package c2pa is missing, or the certificate and key cannot sign.
    """
    import c2pa

    version = {"version": provenance.system_version} if provenance.system_version else {}
    created = {
        "action": "c2pa.created",
        "digitalSourceType": TRAINED_ALGORITHMIC_MEDIA,
        "softwareAgent": {"name": provenance.system, **version},
    }
    actions = [created, *({"action": edit} for edit in edits)]
    manifest = {
        "claim_generator_info": [{"name": CREATOR_TOOL}],
        "title": provenance.image_id,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }
    signed = io.BytesIO()
    try:
        with c2pa.Builder.from_json(json.dumps(manifest), _context()) as builder:
            builder.sign(_signer(credentials), f"image/{image_format}", io.BytesIO(content), signed)
    except c2pa.C2paError as error:
        raise RecipeError(
            f"{_FIELD}: cannot sign with {credentials.certificate}: {error}. The certificate must be a PEM chain, the "
            f"signer's first, that C2PA allows for signing, and private_key its {credentials.algorithm} key in PKCS#8"
        ) from error
    return signed.getvalue()


def check_content_credentials(generation: Generation) -> None:
    """Sign a picture of one pixel, if the recipe wants images to be signed.

    Raises:
        RecipeError: the package c2pa is missing, a file cannot be read, or certificate and key cannot sign.
    """
    if generation.content_credentials is None:
        return
    try:
        import c2pa  # noqa: F401
    except ImportError as error:
        raise RecipeError(
            f"{_FIELD} needs a package that is not installed: pip install 'synthvlm_dagster[c2pa]'"
        ) from error
    from PIL import Image

    pixel = io.BytesIO()
    Image.new("RGB", (1, 1)).save(pixel, "png")
    sign(
        pixel.getvalue(),
        "png",
        Provenance("probe", "probe", generation.model, None, "", 0),
        generation.content_credentials,
    )


def credentials_identity(credentials: ContentCredentials) -> str:
    """What signatures are known by: the certificate's content, wherever it lies, the algorithm, and who dates them.

    A certificate has one key, which is not looked at.

    Raises:
        RecipeError: the certificate cannot be read.
    """
    certificate = hashlib.sha256(_content(credentials, "certificate")).hexdigest()
    return fingerprint(certificate, credentials.algorithm, credentials.time_stamp_url)


def _content(credentials: ContentCredentials, name: str) -> bytes:
    path = getattr(credentials, name)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RecipeError(f"{_FIELD}.{name}: {path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=1)
def _signer(credentials: ContentCredentials) -> c2pa.Signer:
    import c2pa

    files = [_content(credentials, name) for name in ("certificate", "private_key")]
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(credentials.algorithm, *files, credentials.time_stamp_url))


@lru_cache(maxsize=1)
def _context() -> c2pa.Context:
    import c2pa

    # The library's thumbnails can be larger than the image.
    return c2pa.Context(settings=c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}}))
