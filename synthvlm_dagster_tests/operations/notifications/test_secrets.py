import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.operations.notifications.secrets import masked

TEXTS = [
    "s3://{}:x@bucket/table",
    "https://user:{}@host/path",
    "https://b.example/x?X-Amz-Signature={}&a=b",
    "https://b.example/x?token={}",
    "password={}, user=anna",
    "Authorization: Bearer {}",
    '{{"aws_secret_access_key": "{}"}}',
    "{{'api_key': '{}'}}",
    "sent Basic {} to the server",
]


@given(st.sampled_from(TEXTS), st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=12, max_size=40))
def test_secrets_are_masked_wherever_they_stand(text, secret):
    assert secret not in masked(text.format(secret))
    assert "***" in masked(text.format(secret))


@pytest.mark.parametrize(
    "key", ["AKIAIOSFODNN7EXAMPLE", "hf_abcdefghijklmnop", "sk-abcdefghijklmnop", "ghp_abcdefghijkl"]
)
def test_keys_are_known_by_their_beginning(key):
    assert masked(f"refused: {key}.") == "refused: ***."


@pytest.mark.parametrize(
    "text",
    [
        "source mine: captions.csv: 3 of 9 rows are unusable",
        "the text is longer than 77 tokens: 80",
        "shard 0003: AuthenticationError: refused",
        "s3://bucket/captions/*.csv.gz: no file matches",
        "A key on a table; a secret garden: a token of love.",
    ],
)
def test_other_texts_stay(text):
    assert masked(text) == text


def test_what_this_process_has_as_a_secret_is_masked(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_TOKEN", "correct-horse")
    monkeypatch.setenv("USE_TOKEN", "1")
    assert masked("1: correct-horse") == "1: ***"
