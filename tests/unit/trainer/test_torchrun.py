"""A process's way of ending, as the pod tells it."""

import pytest
from serin_trainer.torchrun import exit_code


@pytest.mark.parametrize(("child", "pod"), [(64, 64), (65, 65), (75, 75), (1, 1), (-9, 137), (-15, 143), (0, 1)])
def test_the_code_of_the_process_that_failed_first_is_the_pods(child: int, pod: int) -> None:
    assert exit_code(child) == pod
