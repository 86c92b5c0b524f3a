"""The decision for one FineTuneJob: from data to a judged ModelRevision."""

from serin_operator.decide.job.loop import decide_job

__all__ = ["decide_job"]
