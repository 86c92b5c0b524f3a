"""A run on an MLflow server: found again by later attempts, each point once, and every way to fail in words."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from serin_operator.manifests.secrets import variable
from serin_trainer.config import Mlflow
from serin_trainer.errors import ConfigError
from serin_trainer.mlflow import MOST_LETTERS, NotTold, Opened, Server
from serin_trainer.tracking import Point
from support.mlflow import PREFIX, PlayedMlflow

URI = "http://mlflow:5000"
PARAMS = {"method.type": "LoRA", "trainKey": "4f00bb"}
RUN = "uid-4f00bb"


def server(played: PlayedMlflow, **wish: Any) -> Server:
    return Server(Mlflow.model_validate({"uri": URI, "experiment": "bot", **wish}), played.transport())


def opened(one: Server, params: dict[str, str] | None = None, **tags: str) -> Opened:
    return one.open(RUN, "bot-4f00bb", 1.5, PARAMS if params is None else params, tags)


def at(step: int, **values: float) -> Point:
    return Point(step, 100.0 + step, values or {"loss": 2.0 / step, "gradient_norm": 1.0})


def test_a_run_has_its_name_its_params_and_its_curves() -> None:
    played = PlayedMlflow()
    one = server(played)
    run = opened(one, attempt="1")
    one.log(run, [at(1), at(2)])
    one.end(run, "FINISHED", 200.0)
    assert played.experiments == {"bot": "1"}
    assert (played.run.name, played.run.params) == ("bot-4f00bb", PARAMS)
    assert played.run.tags == {"serin.run": RUN, "mlflow.runName": "bot-4f00bb", "attempt": "1"}
    assert played.run.curve("loss") == [(1, 2.0), (2, 1.0)]
    assert played.run.metrics[0] == {"key": "loss", "value": 2.0, "timestamp": 101_000, "step": 1}
    assert (played.run.status, played.run.end_time) == ("FINISHED", 200_000)
    assert run.page == f"{URI}/#/experiments/1/runs/{run.run_id}"


def test_another_attempt_goes_on_with_the_run_and_tells_no_point_twice() -> None:
    played = PlayedMlflow()
    first = server(played)
    first.log(opened(first, attempt="1"), [at(1), at(2), at(3)])
    second = server(played)
    run = opened(second, {**PARAMS, "method.type": "Full", "new": "1"}, attempt="2")
    second.log(run, [at(2), at(3, loss=0.7, eval_loss=0.9), at(4)])
    second.log(run, [at(4)])
    assert played.run.curve("loss") == [(1, 2.0), (2, 1.0), (3, pytest.approx(2 / 3)), (4, 0.5)]
    assert played.run.curve("eval_loss") == [(3, 0.9)]
    assert (played.run.status, played.run.tags["attempt"]) == ("RUNNING", "2")
    assert played.run.params == {**PARAMS, "new": "1"}  # what it began with stays


def test_a_long_history_is_read_to_its_end() -> None:
    played = PlayedMlflow()
    played.page = 2
    first = server(played)
    first.log(opened(first), [at(step) for step in range(1, 6)])
    again = server(played)
    again.log(opened(again), [at(step) for step in range(1, 7)])
    assert [step for step, _ in played.run.curve("loss")] == [1, 2, 3, 4, 5, 6]


def test_pages_that_never_end_are_not_read_for_ever() -> None:
    played = PlayedMlflow()
    first = server(played)
    first.log(opened(first), [at(1)])
    endless = {"metrics": [{"key": "loss", "step": 1}], "next_page_token": "again"}
    played.before = lambda call: httpx.Response(200, json=endless) if call == "metrics/get-history" else None
    assert opened(server(played)).known == {"loss": {1}, "gradient_norm": {1}}


def test_many_points_go_in_several_batches() -> None:
    played = PlayedMlflow()
    one = server(played)
    one.log(opened(one, {f"p{index}": "x" for index in range(150)}), [at(step) for step in range(1, 1201)])
    assert len(played.run.curve("loss")) == 1200
    assert len(played.run.params) == 150


def test_losses_that_are_no_number_and_long_values_are_told_as_mlflow_takes_them() -> None:
    played = PlayedMlflow()
    one = server(played)
    infinite = at(3, loss=float("-inf"))
    one.log(
        opened(one, {"long": "x" * 9000, "empty": ""}), [at(1, loss=float("nan")), at(2, loss=float("inf")), infinite]
    )
    assert [one["value"] for one in played.run.metrics] == ["NaN", "Infinity", "-Infinity"]
    assert played.run.params == {"long": "x" * MOST_LETTERS}


def test_an_experiment_that_another_job_creates_at_the_same_moment_is_taken() -> None:
    played = PlayedMlflow()

    def another_is_quicker(call: str) -> None:
        if call == "experiments/create":
            played.experiments["bot"] = "7"

    played.before = another_is_quicker  # type: ignore[assignment]
    opened(server(played))
    assert played.run.experiment == "7"


def test_an_address_below_a_path_is_kept() -> None:
    played, seen = PlayedMlflow(), []
    transport = httpx.MockTransport(lambda request: seen.append(request.url.path) or httpx.Response(500))
    with pytest.raises(NotTold):
        opened(Server(Mlflow(uri=URI + "/team/", experiment="bot"), transport))
    assert seen == ["/team" + PREFIX + "experiments/get-by-name"]
    assert not played.calls


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"authentication": "Token"}, "Bearer abc"),
        ({"authentication": "Password"}, "Basic " + base64.b64encode(b"me:pass").decode()),
    ],
)
def test_credentials_are_sent_as_the_job_says(
    given: dict[str, str], sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"TOKEN": "abc\n", "USERNAME": "me", "PASSWORD": "pass"}.items():
        monkeypatch.setenv(variable("ml-flow", f"MLFLOW_TRACKING_{key}"), value)
    played = PlayedMlflow()
    opened(server(played, uri="https://mlflow", secret="ml-flow", **given))
    assert {headers["authorization"] for headers in played.headers} == {sent}


def test_without_a_secret_no_credentials_are_sent_whatever_the_node_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "of the node")
    played = PlayedMlflow()
    opened(server(played))
    assert not any("authorization" in headers for headers in played.headers)


def test_an_empty_credential_is_named_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable("m", "MLFLOW_TRACKING_TOKEN"), "")
    with pytest.raises(ConfigError, match="the key MLFLOW_TRACKING_TOKEN of the Secret 'm' is empty"):
        server(PlayedMlflow(), uri="https://mlflow", secret="m", authentication="Token")


@pytest.mark.parametrize(
    "wish",
    [
        {"uri": "http://m", "secret": "m", "authentication": "Token"},
        {"uri": "https://m", "secret": "m"},
        {"uri": "https://m", "authentication": "Token"},
        {"uri": "sqlite:///m"},
    ],
)
def test_credentials_that_would_be_overheard_and_half_wishes_are_refused(wish: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Mlflow.model_validate({"experiment": "bot", **wish})


def fails(error: Exception) -> Callable[[str], httpx.Response | None]:
    def before(_call: str) -> httpx.Response | None:
        raise error

    return before


def says(status: int, **answer: Any) -> Callable[[str], httpx.Response | None]:
    return lambda _call: httpx.Response(status, **answer)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (
            fails(httpx.ConnectError("[Errno 111] Connection refused")),
            "cannot be reached: [Errno 111] Connection refused",
        ),
        (fails(httpx.ReadTimeout("")), "does not answer in time"),
        (says(302, headers={"location": "https://login.example.com"}), "redirects to https://login.example.com"),
        (says(401, text="no"), "refuses the credentials of tracking.mlflow.secretRef, or wants some (status 401)"),
        (says(503, text="<html>"), "answers with status 503"),
        (says(200, text="<html>hello</html>"), "not as MLflow's REST API does"),
        (says(200, json=[1]), "not as MLflow's REST API does"),
        (says(200, json={"experiment": "x"}), "not as MLflow's REST API does"),
        (
            says(400, json={"error_code": "INVALID_STATE", "message": "it is\n\x1b[1mdeleted" + "x" * 999}),
            "INVALID_STATE: it is [1mdeletedxxx",
        ),
        (says(200, content=b" " * (17 * 1024 * 1024)), "more than a run can have"),
    ],
)
def test_whatever_a_server_does_is_told_in_a_sentence(before: Any, said: str) -> None:
    played = PlayedMlflow()
    played.before = before
    with pytest.raises(NotTold) as told:
        opened(server(played))
    assert said in str(told.value)
    assert played.calls == ["experiments/get-by-name"]
