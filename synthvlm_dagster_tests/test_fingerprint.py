import shutil

import pytest

from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.fingerprint import fingerprint, model_identity
from synthvlm_dagster.recipe import Selection


def test_equal_settings_have_equal_names():
    assert fingerprint(Selection(count=3), 1) == fingerprint(Selection(count=3), 1)
    assert fingerprint(Selection(count=3), 1) != fingerprint(Selection(count=4), 1)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_a_model_folder_is_known_by_its_content(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights.safetensors").write_bytes(b"one")
    identity = model_identity(str(model), None)
    shutil.copytree(model, tmp_path / "elsewhere" / "model")
    assert model_identity(str(tmp_path / "elsewhere" / "model"), None) == identity
    (model / "weights.safetensors").write_bytes(b"two")
    assert model_identity(str(model), None) != identity


def test_a_hub_model_is_known_by_id_and_revision():
    assert model_identity("org/model", "abc") == "org/model@abc"
    assert model_identity("org/model", None) == "org/model@main"


def test_a_missing_folder_is_a_clear_error(tmp_path):
    with pytest.raises(ModelError, match="no such model folder"):
        model_identity(str(tmp_path / "gone"), None)
