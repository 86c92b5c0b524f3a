"""Any command at any time, among all that may happen otherwise (test_any_order.py): it is safe, and settles in the end."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from support.service_machine import ANY, EDITS, LETTERS, AnyOrder, Healing, profile
from support.service_world import Json

EXAMPLES = 100
VERBS = ("pause", "resume", "promote", "skip", "abort", "rollback", "retry", "approve")
MOST = (
    5  # of the verbs were done at some moment: which ones is chance, and each has tests of its own (test_commands.py)
)


class AnyCommand(Healing):
    outcomes: Counter[tuple[str, str]] = Counter()

    @rule(verb=st.sampled_from(VERBS), nonce=st.integers(0, 40), which=ANY, named=st.booleans())
    def somebody_says_something(self, verb: str, nonce: int, which: int, named: bool) -> None:
        name = self._any("ModelRevision", which) if named and verb in ("rollback", "retry") else None
        self.world.say(f"{verb}/{nonce}/{name}" if name is not None else f"{verb}/{nonce}")

    @rule(verb=st.sampled_from(VERBS), nonce=st.integers(0, 40), seconds=st.integers(0, 5))
    def somebody_steers_what_is_on_trial(self, verb: str, nonce: int, seconds: int) -> None:
        self.time_passes_until_somebody_has_got_requests_for_some_seconds(0)
        self.world.say(f"{verb}/{nonce}")
        self._play(seconds)

    @rule(verb=st.sampled_from(["skip", "promote", "abort"]), nonce=st.integers(41, 60))
    def somebody_steers_a_new_candidate(self, verb: str, nonce: int) -> None:
        """Where there may be one: most commands at random moments are refused, and those that are done must be seen."""
        if self.made < len(LETTERS):
            self.a_model_passes_its_gates(1.0)
        for _ in range(30):
            if "stepStartedAt" in (self.world.status.get("candidate") or {}):
                break
            self._play(1)
        self.world.say(f"{verb}/{nonce}")
        self._play(3)

    @rule(edit=st.sampled_from([edit for edit in EDITS if "approval" in str(edit)]), nonce=st.integers(61, 80))
    def somebody_approves_when_asked(self, edit: Json, nonce: int) -> None:
        self.somebody_edits_the_spec(edit)
        self.time_passes_until_somebody_has_got_requests_for_some_seconds(0)
        for _ in range(15):
            if self.world.status.get("state") == "AwaitingApproval":
                break
            self._play(1)
        self.world.say(f"approve/{nonce}")
        self._play(3)

    @rule(verb=st.sampled_from(["rollback", "retry"]), nonce=st.integers(0, 40), seconds=st.integers(0, 5))
    def somebody_goes_back(self, verb: str, nonce: int, seconds: int) -> None:
        self._play(30)
        self.world.say(f"{verb}/{nonce}")
        self._play(seconds)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            for command in self.world.status.get("commands", []):
                AnyCommand.outcomes[(command.get("verb", ""), command["outcome"])] += 1

    def _heal(self) -> None:
        super()._heal()
        self._play(3)  # what was said is heard
        self.world.say("resume/in-the-end")

    def _settles(self) -> None:
        super()._settles()
        assert "rollback" not in self.world.status
        assert "paused" not in self.world.status
        left = [one for one in self.world.status.get("commands", []) if one["outcome"] == "Accepted"]
        assert not left, f"accepted and never done: {left}"


def test_whatever_is_said_at_whatever_time_it_is_safe_and_settles_in_the_end() -> None:
    AnyOrder.looks = 0
    AnyCommand.outcomes.clear()
    run_state_machine_as_test(AnyCommand, settings=profile(EXAMPLES))
    print(f"{AnyOrder.looks} looks of the operator were played: {dict(AnyCommand.outcomes)}")
    done = {verb for verb, outcome in AnyCommand.outcomes if outcome == "Done"}
    refused = {verb for verb, outcome in AnyCommand.outcomes if outcome == "Refused"}
    assert len(done) >= MOST, done
    assert len(refused) >= MOST, refused
