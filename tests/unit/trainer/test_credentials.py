"""Credentials come from the variables that the operator names, and from nowhere else."""

import pytest
from serin_operator.manifests.secrets import variable
from serin_trainer.credentials import credential, optional_credential
from serin_trainer.errors import ConfigError


@pytest.mark.parametrize("secret", ["store", "team-a-store", "s3"])
def test_both_sides_name_the_variable_alike(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv(variable(secret, "AWS_ACCESS_KEY_ID"), "me")
    assert credential(secret, "AWS_ACCESS_KEY_ID") == "me"


def test_a_line_end_is_no_part_of_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable("hub", "HF_TOKEN"), "hf_abc\n")
    assert credential("hub", "HF_TOKEN") == "hf_abc"


@pytest.mark.parametrize("value", ["", "\n"])
def test_an_empty_key_is_told_with_its_secret_and_never_sent(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(variable("hub", "HF_TOKEN"), value)
    with pytest.raises(ConfigError, match="the key HF_TOKEN of the Secret 'hub' is empty"):
        credential("hub", "HF_TOKEN")


def test_what_lies_about_under_other_names_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of the node")
    assert optional_credential("store", "AWS_SESSION_TOKEN") is None
