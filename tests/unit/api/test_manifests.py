"""How objects are written: what is empty is left out where the apiserver would stumble over it."""

from datetime import UTC, datetime

from serin_operator.api.v1alpha1 import StageName, StageOutcome, StageStatus


def test_a_stage_without_output_names_none() -> None:
    """Server-side apply of `output: {}` over a finished stage's output is refused: the merge is null."""
    began = StageStatus(name=StageName.TRAIN, key="k", outcome=StageOutcome.RUNNING, started_at=datetime.now(UTC))
    assert "output" not in began.manifest()
    assert began.model_copy(update={"output": {"steps": 1}}).manifest()["output"] == {"steps": 1}
