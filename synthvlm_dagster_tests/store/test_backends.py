"""What is known of each place that tables and captions can stand in, and that the documentation says it too."""

import tomllib
from pathlib import Path

import pytest
from fsspec.config import conf
from fsspec.registry import known_implementations

from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.store.backend import StorageBackend
from synthvlm_dagster.store.backends import BACKENDS, backend_of
from synthvlm_dagster.store.object_stores import filesystem_at, is_remote
from synthvlm_dagster.store.storage import Storage

ROOT = Path(__file__).parents[2]

EVERY = pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)


@EVERY
def test_the_schemes_are_fsspecs_and_of_one_backend(backend: StorageBackend) -> None:
    # What fsspec calls abfs is abfss, too.
    assert set(backend.schemes) - {"abfss"} <= set(known_implementations)
    assert all(backend_of(scheme) is backend for scheme in backend.schemes)


@EVERY
def test_an_extra_can_be_installed(backend: StorageBackend) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert backend.extra is None or backend.extra in project["optional-dependencies"]


@EVERY
def test_the_docs_name_its_variables(backend: StorageBackend) -> None:
    text = (ROOT / "docs/object-stores.md").read_text(encoding="utf-8")
    words = (backend.credentials or "").replace(",", "").split()
    assert [word for word in words if word.isupper() and "_" in word and f"`{word}" not in text] == []
    assert backend.credentials is None or f"`{backend.schemes[0]}://`" in text


@pytest.mark.parametrize(
    ("location", "remote"),
    [
        ("s3://bucket/key", True),
        ("gs://bucket/key", True),
        ("ftp://host/key", True),
        ("zip://*.json::https://host/captions.zip", True),
        ("zip://*.json::/disk/captions.zip", False),
        ("file:///disk/key", False),
        ("local:///disk/key", False),
        ("memory://key", False),
        ("/disk/key", False),
        ("org/model", False),
    ],
)
def test_what_takes_a_network(location: str, remote: bool) -> None:
    assert is_remote(location) is remote


def test_a_scheme_whose_package_is_missing_says_what_to_install() -> None:
    with pytest.raises(StorageError, match=r"^gs://bucket/x: .*gcsfs.*: pip install 'synthvlm_dagster\[gcs\]'$"):
        Storage("gs://bucket/x")


def test_s3_is_patient_and_fsspecs_configuration_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(conf, "s3", {"config_kwargs": {"read_timeout": 120}})
    filesystem, path = filesystem_at("s3://bucket/key")
    assert path == "bucket/key"
    assert filesystem.config_kwargs == {"connect_timeout": 10, "read_timeout": 120}
    assert filesystem.retries == 3
