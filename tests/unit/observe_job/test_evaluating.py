"""How far the pods of an evaluation are, as they tell it."""

import pytest
from serin_operator.api.v1alpha1 import PodProgress
from serin_operator.decide.job.snapshot import Measurer
from serin_operator.http import httpx
from serin_operator.observe.evaluating import measurers, parse
from serin_operator.observe.runs import PodOfRun


def text(done: str, total: str, eta: str = "12.4") -> str:
    rows = {"examples_done": done, "examples_total": total, "eta_seconds": eta}
    return "".join(
        f"# TYPE serin_evaluate_{name} gauge\nserin_evaluate_{name} {value}\n" for name, value in rows.items()
    )


@pytest.mark.parametrize(
    ("said", "found"),
    [
        pytest.param(text("5", "20"), PodProgress(index=1, done=5, total=20, eta_seconds=12), id="on its way"),
        pytest.param(text("0", "20", "nan"), PodProgress(index=1, done=0, total=20), id="nothing yet"),
        pytest.param(text("0", "0"), None, id="nothing planned yet"),
        pytest.param(text("30", "20"), None, id="more than there is"),
        pytest.param(text("-5", "20"), None, id="less than nothing"),
        pytest.param(text("1e300", "1e301"), None, id="no count"),
        pytest.param("", None, id="another server"),
    ],
)
def test_numbers_become_progress_or_nothing(said: str, found: PodProgress | None) -> None:
    assert parse(1, said) == found


async def test_all_pods_that_run_are_asked_and_one_that_does_not_answer_is_told_as_such() -> None:
    asked: list[str] = []

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if request.url.host == "10.0.0.2":
            raise httpx.ConnectError("refused")
        return httpx.Response(200, text=text("5", "20"))

    pods = [PodOfRun(0, "10.0.0.1", False), PodOfRun(1, "10.0.0.2", False), PodOfRun(2, None, True)]
    async with httpx.AsyncClient(transport=httpx.MockTransport(answers)) as client:
        found = await measurers(client, pods)
    assert sorted(asked) == ["10.0.0.1", "10.0.0.2"]
    assert found == (
        Measurer(0, PodProgress(index=0, done=5, total=20, eta_seconds=12)),
        Measurer(1),
        Measurer(2, done=True),
    )
