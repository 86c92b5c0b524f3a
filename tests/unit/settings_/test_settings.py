"""The operator's own configuration: wrong files are told by field."""

import json
import logging
from pathlib import Path

import pytest
from serin_operator import settings
from serin_operator.logs import JsonFormatter

IMAGES = "images: {trainer: t, evaluator: e, server: s}\n"


SOURCE = IMAGES + "metricSources: [{name: a, url: 'http://p', "


def loaded(folder: Path, text: str) -> settings.Settings:
    path = folder / "operator.yaml"
    path.write_text(text)
    return settings.load(str(path))


def test_images_are_enough(tmp_path: Path) -> None:
    found = loaded(tmp_path, IMAGES)
    assert found.images.server == "s"
    assert found.prepare_retry_seconds == 60


def test_sources_are_named(tmp_path: Path) -> None:
    found = loaded(tmp_path, IMAGES + "metricSources: [{name: default, url: 'http://prometheus:9090'}]\n")
    assert found.metric_sources[0].name == "default"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("{}", "images", id="no images"),
        pytest.param(IMAGES + "imagePullPolicy: Sometimes", "imagePullPolicy", id="not a policy"),
        pytest.param(IMAGES + "prepareRetry: 5", "prepareRetry", id="unknown key"),
        pytest.param(
            IMAGES + "leaderElection: {renewDeadlineSeconds: 15}", "renewDeadlineSeconds", id="stops after others began"
        ),
        pytest.param(IMAGES + "metricSources: [{name: a, url: 'file:///etc/passwd'}]", "url", id="not HTTP"),
        pytest.param(SOURCE + "timeoutSeconds: 6}]", "timeoutSeconds", id="longer than a look"),
        pytest.param(SOURCE + "headers: {Authorization: x}}]", "bearerTokenFile", id="a token in the configuration"),
        pytest.param(SOURCE + "headers: {'X\\r': x}}]", "not a header", id="no header's name"),
        pytest.param(SOURCE + 'headers: {X-A: "a\\r\\nb"}}]', "not a header", id="two headers in one"),
        pytest.param(SOURCE + "caFile: /ca}]", "signs a certificate", id="an authority for plain HTTP"),
        pytest.param(":\n- [", "cannot be used", id="not YAML"),
    ],
)
def test_a_wrong_file_names_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(settings.InvalidSettings, match=said):
        loaded(tmp_path, text)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(settings.InvalidSettings, match="/nowhere"):
        settings.load("/nowhere.yaml")


def test_a_log_line_is_one_json_object_that_names_its_object() -> None:
    record = logging.LogRecord("serin", logging.INFO, "f", 1, "it is %s", ("so",), None)
    record.object = "FineTuneJob ml/bot"
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["object"], line["level"]) == ("it is so", "FineTuneJob ml/bot", "info")
