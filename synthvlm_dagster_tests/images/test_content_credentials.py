import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.images.content_credentials import check_content_credentials
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.images.provenance import Provenance, read_provenance
from synthvlm_dagster.images.table import encode_image
from synthvlm_dagster.recipe import RECIPES_FOLDER, ContentCredentials, Generation, load_recipe, parse_recipe

FORMATS = ["jpeg", "png", "webp"]
_PIXELS_START = {"jpeg": b"\xff\xda", "png": b"IDAT", "webp": b"VP8 "}
SOURCE = Provenance("0123456789abcdef-00", "model-0a1b2c3d4e", "org/model", "v1.0", "ab" * 32, 7)


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> ContentCredentials:
    """A key with a certificate as C2PA wants it, vouched for by an authority that nobody trusts."""
    folder = tmp_path_factory.mktemp("credentials")
    authority, signer = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = [_certificate("signer", signer, authority), _certificate("authority", authority, authority)]
    pem = serialization.Encoding.PEM
    (folder / "chain.pem").write_bytes(b"".join(certificate.public_bytes(pem) for certificate in chain))
    (folder / "key.pem").write_bytes(
        signer.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return ContentCredentials(certificate=str(folder / "chain.pem"), private_key=str(folder / "key.pem"))


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_signed_file_says_that_a_model_made_it(image_format: str, credentials: ContentCredentials) -> None:
    reader = _read(_encode(image_format, credentials), image_format)
    assert reader.get_validation_state() == "Valid"
    manifest = reader.get_active_manifest()
    assert manifest["title"] == SOURCE.image_id
    [actions] = [part["data"]["actions"] for part in manifest["assertions"] if part["label"] == "c2pa.actions.v2"]
    [created] = actions
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"] == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert created["softwareAgent"] == {"name": "org/model", "version": "v1.0"}


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_change_of_a_signed_file_shows(image_format: str, credentials: ContentCredentials) -> None:
    content = bytearray(_encode(image_format, credentials))
    content[content.rindex(_PIXELS_START[image_format]) + 100] ^= 1
    reader = _read(bytes(content), image_format)
    assert reader.get_validation_state() == "Invalid"
    failures = [failure["code"] for failure in reader.get_validation_results()["activeManifest"]["failure"]]
    assert "assertion.dataHash.mismatch" in failures


@pytest.mark.parametrize("image_format", FORMATS)
def test_signing_keeps_pixels_and_mark(image_format: str, credentials: ContentCredentials) -> None:
    signed, plain = _encode(image_format, credentials), _encode(image_format, None)
    assert read_provenance(signed) == SOURCE
    with Image.open(io.BytesIO(signed)) as one, Image.open(io.BytesIO(plain)) as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))
    assert 0 < len(signed) - len(plain) < 10_000


def test_what_was_done_to_an_image_is_signed_too(credentials: ContentCredentials) -> None:
    generation = Generation(model="a/b", content_credentials=credentials)
    content = encode_image(_picture(), generation, SOURCE, edits=["c2pa.resized"]).content
    reader = _read(content, "jpeg")
    assert reader.get_validation_state() == "Valid"
    [actions] = [part["data"]["actions"] for part in reader.get_active_manifest()["assertions"]]
    assert [action["action"] for action in actions] == ["c2pa.created", "c2pa.resized"]


def test_many_threads_sign_with_one_key(credentials: ContentCredentials) -> None:
    with ThreadPoolExecutor(4) as threads:
        files = list(threads.map(lambda _: _encode("jpeg", credentials), range(24)))
    assert {_read(content, "jpeg").get_validation_state() for content in files} == {"Valid"}


def test_images_that_are_signed_otherwise_are_another_generators(
    credentials: ContentCredentials, tmp_path: Path
) -> None:
    """A fresh run would store other files: signed, or by another signer."""
    recipe = load_recipe("demo")

    def name(signing: ContentCredentials | None) -> str:
        generation = recipe.generation.model_copy(update={"content_credentials": signing})
        return generator_name(recipe.model_copy(update={"generation": generation}))

    moved = tmp_path / "moved.pem"
    moved.write_bytes(Path(credentials.certificate).read_bytes())
    renewed = tmp_path / "renewed.pem"
    renewed.write_bytes(moved.read_bytes() + b"\n")
    assert name(None) == generator_name(recipe)
    assert name(credentials.model_copy(update={"certificate": str(moved)})) == name(credentials)
    others = {"certificate": str(renewed)}, {"algorithm": "es384"}, {"time_stamp_url": "http://time.example"}
    names = [name(None), name(credentials), *(name(credentials.model_copy(update=change)) for change in others)]
    assert len(set(names)) == len(names)
    with pytest.raises(RecipeError, match=r"certificate: /nowhere\.pem cannot be read"):
        name(credentials.model_copy(update={"certificate": "/nowhere.pem"}))


def test_the_files_lie_beside_the_recipe(tmp_path: Path) -> None:
    demo = (RECIPES_FOLDER / "demo.yaml").read_text()
    section = "  content_credentials: {certificate: chain.pem, private_key: keys/key.pem}\n"
    recipe = parse_recipe(demo.replace("generation:\n", f"generation:\n{section}"), tmp_path / "recipe.yaml")
    credentials = recipe.generation.content_credentials
    assert credentials is not None
    assert credentials.certificate == str(tmp_path / "chain.pem")
    assert credentials.private_key == str(tmp_path / "keys" / "key.pem")


def test_credentials_that_cannot_sign_are_told_before_the_first_image(
    credentials: ContentCredentials, tmp_path: Path
) -> None:
    check_content_credentials(Generation(model="a/b"))
    check_content_credentials(Generation(model="a/b", content_credentials=credentials))
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    other_key = tmp_path / "other.pem"
    other_key.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    for change, message in [
        ({"certificate": str(junk)}, r"generation\.content_credentials: cannot sign with .*junk\.pem"),
        ({"private_key": str(junk)}, r"generation\.content_credentials: cannot sign"),
        ({"private_key": str(other_key)}, r"generation\.content_credentials: cannot sign"),
        ({"algorithm": "es384"}, r"generation\.content_credentials: cannot sign"),
        ({"private_key": "/nowhere/key.pem"}, r"content_credentials\.private_key: /nowhere/key\.pem cannot be read"),
    ]:
        wrong = credentials.model_copy(update=change)
        with pytest.raises(RecipeError, match=message):
            check_content_credentials(Generation(model="a/b", content_credentials=wrong))


def _picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def _encode(image_format: str, credentials: ContentCredentials | None) -> bytes:
    generation = Generation(model="a/b", image_format=image_format, content_credentials=credentials)
    return encode_image(_picture(), generation, SOURCE).content


def _read(content: bytes, image_format: str) -> c2pa.Reader:
    return c2pa.Reader(f"image/{image_format}", io.BytesIO(content))


def _certificate(name: str, key: ec.EllipticCurvePrivateKey, authority: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    is_authority, now = key is authority, datetime.now(UTC)
    usage = dict.fromkeys(
        ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"], False
    )
    usage |= {"decipher_only": False, "crl_sign": False}
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(_subject("authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not is_authority, key_cert_sign=is_authority, **usage), critical=True
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if not is_authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=True)
    return builder.sign(authority, hashes.SHA256())


def _subject(name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
