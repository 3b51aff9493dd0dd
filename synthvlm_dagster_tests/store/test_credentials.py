import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.errors import RecipeError, StorageError
from synthvlm_dagster.recipe import CaptionSource, parse_recipe
from synthvlm_dagster.store.credentials import credentials_in
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.smallest_recipe import SMALLEST

HARMLESS = [
    "s3://bucket/key@2x.png",
    "s3://arn:aws:s3:us-west-2:123456789012:accesspoint/mine/key",
    "s3://bucket/captions?.csv",
    "https://host:8443/a@b:c?page=2&tokens=7&versionId=3",
    "http://[::1]:9000/captions.csv",
    "abfs://container@account.dfs.core.windows.net/folder",
    "sftp://user@host/folder",
    "zip://*.json::https://host/captions.zip",
    "memory://a/b",
    "hf://datasets/org/name@main/data.parquet",
    "C:/folder/a@b",
    "user:password@a local file",
    "org/model",
]


@pytest.mark.parametrize("url", HARMLESS)
def test_urls_without_credentials_pass(url):
    assert credentials_in(url) is None


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("s3://AKIA:hush@bucket/key", "AWS_SECRET_ACCESS_KEY"),
        ("s3://AKIA:hu/hush@bucket/key", "AWS_SECRET_ACCESS_KEY"),
        ("s3a://hush@bucket/key", "AWS_SECRET_ACCESS_KEY"),
        ("https://user:hush@host/captions.csv", "FSSPEC_HTTPS"),
        ("https://hush@host/captions.csv", "FSSPEC_HTTPS"),
        ("https://host/captions.csv?page=1&token=hush", "FSSPEC_HTTPS"),
        ("https://bucket.s3.amazonaws.com/k?X-Amz-Credential=hush&X-Amz-Signature=hush", "FSSPEC_HTTPS"),
        ("https://account.blob.core.windows.net/c/f?sv=2022&sig=hush", "FSSPEC_HTTPS"),
        ("https://host/f?api_key=hush#part", "FSSPEC_HTTPS"),
        ("zip://*.json::https://user:hush@host/captions.zip", "FSSPEC_HTTPS"),
        ("ftp://user:hush@host/captions.csv", "FSSPEC_FTP_PASSWORD"),
        ("sftp://user:hush@host/captions.csv", "FSSPEC_SFTP_PASSWORD"),
        ("abfs://container:hush@account/folder", "AZURE_STORAGE_ACCOUNT_KEY"),
        ("gs://bucket/key?access_token=hush", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("hf://user:hush@datasets/org/name", "HF_TOKEN"),
    ],
)
def test_credentials_are_found_and_not_repeated(url, variable):
    refusal = credentials_in(url)
    assert refusal
    assert variable in refusal
    assert "hush" not in refusal


# Of a doubled colon fsspec makes a chain of two URLs.
@given(
    scheme=st.sampled_from(["s3", "https", "ftp"]),
    secret=st.text(st.characters(codec="ascii"), min_size=1).filter(lambda secret: not secret.startswith(":")),
)
def test_whatever_stands_between_colon_and_at_is_refused(scheme, secret):
    refusal = credentials_in(f"{scheme}://user:{secret}hush@host/x")
    # A port may be what stands there; the rest is then a path.
    if not secret.lstrip("0123456789").startswith(("/", "?", "#")):
        assert refusal
    assert "hush" not in (refusal or "")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (("count: 10\n", "count: 10\nstorage: s3://AKIA:hush@bucket/tables\n"), "line 9: storage"),
        (("path: captions.csv", "path: https://host/c.csv?token=hush"), "line 4: sources.0.path"),
        (("path: captions.csv", "path: c.csv\n    image_root: https://u:hush@host"), "line 5: sources.0.image_root"),
        (("model: org/model", "model: https://hush@host/model"), "line 6: generation.model"),
        (
            ("count: 10", "count: 10\ncuration: {rules: {judge: {model: m, base_url: 'https://u:hush@host/v1'}}}"),
            "curation.rules.judge.base_url",
        ),
    ],
)
def test_recipes_with_credentials_are_refused_by_field(change, field, tmp_path):
    with pytest.raises(RecipeError) as raised:
        parse_recipe(SMALLEST.replace(*change), tmp_path / "recipe.yaml")
    assert field in str(raised.value)
    assert "in the environment" in str(raised.value)
    assert "hush" not in str(raised.value)
    assert "hush" not in repr(raised.value.__cause__)
    assert "hush" not in str(raised.value.__cause__)


def test_they_are_refused_elsewhere_too(monkeypatch, tmp_path):
    with pytest.raises(StorageError, match="AWS_SECRET_ACCESS_KEY") as raised:
        Storage("s3://AKIA:hush@bucket/tables")
    assert "hush" not in str(raised.value)
    with pytest.raises(ValueError, match="FSSPEC_HTTPS") as refused:
        CaptionSource(name="mine", path="https://user:hush@host/captions.csv")
    assert "hush" not in str(refused.value)
    monkeypatch.setenv("SYNTHVLM_STORAGE", "s3://AKIA:hush@bucket/tables")
    with pytest.raises(RecipeError, match=r"\$SYNTHVLM_STORAGE: .*AWS_SECRET_ACCESS_KEY") as raised:
        parse_recipe(SMALLEST, tmp_path / "recipe.yaml")
    assert "hush" not in str(raised.value)
