"""Users of an experiment stay with one revision: what the rules of its route match."""

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from serin_operator.api.v1alpha1 import ModelService
from serin_operator.manifests.arms import Arms, buckets, ending_in, of_an_arm
from serin_operator.manifests.route import http_route
from serin_operator.observe.traffic import route_view
from support.service_world import a_service

CANDIDATE, STABLE = "bot-bbbb", "bot-aaaa"
BOTH = Arms(CANDIDATE, STABLE, 30, "sha256:b", header="X-User-Id", cookie_seconds=600)


def route(arms: Arms | None, backends: Sequence[tuple[str, int]] = ((STABLE, 70), (CANDIDATE, 30))) -> dict[str, Any]:
    return http_route(ModelService.model_validate(a_service()), list(backends), arms=arms)


def answered_by(rules: Any, name: str, value: str) -> str | None:
    """By the first rule that matches; None: shared out by weight."""
    for rule in rules[:-1]:
        (header,) = rule["matches"][0]["headers"]
        if header["name"] == name and re.fullmatch(header["value"], value):
            return str(rule["backendRefs"][0]["name"])
    return None


def users(count: int) -> list[str]:
    """Keys as they come: UUIDs."""
    return [str(UUID(int=i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)) for i in range(1, count + 1)]


def test_without_an_experiment_the_route_is_as_before() -> None:
    rules = route(None)["spec"]["rules"]
    assert len(rules) == 1
    assert all("filters" not in ref for ref in rules[0]["backendRefs"])


def test_a_user_with_a_key_always_meets_the_same_revision() -> None:
    rules = route(BOTH)["spec"]["rules"]
    assert {answered_by(rules, "X-User-Id", user) for user in users(300)} == {CANDIDATE, STABLE}
    assert all(answered_by(rules, "X-User-Id", u) == answered_by(rules, "X-User-Id", u.upper()) for u in users(50))


@pytest.mark.parametrize("percent", [1, 10, 30, 50, 99])
def test_the_candidate_has_its_share_of_the_keys(percent: int) -> None:
    arms = Arms(CANDIDATE, STABLE, percent, "sha256:b", header="X-User-Id")
    (ours, _), (others, _) = arms.rules()
    keys = [f"user-{bucket:02x}" for bucket in range(256)]
    mine = [key for key in keys if re.fullmatch(ours["value"], key)]
    assert abs(len(mine) / 2.56 - percent) <= 1
    assert [key for key in keys if re.fullmatch(others["value"], key)] == [key for key in keys if key not in mine]


def test_another_candidate_meets_other_users_and_a_larger_share_keeps_those_it_had() -> None:
    assert buckets("sha256:b", 30) != buckets("sha256:c", 30)
    assert buckets("sha256:b", 30) < buckets("sha256:b", 50)
    assert 1 <= len(buckets("x", 0)) <= len(buckets("x", 100)) == 255


@pytest.mark.parametrize("key", ["", "alicia-x", "user-7", "0g", "ff "])
def test_a_key_without_two_digits_at_its_end_is_shared_out_by_weight(key: str) -> None:
    assert answered_by(route(BOTH)["spec"]["rules"], "X-User-Id", key) is None


def test_the_longest_expression_is_well_within_what_a_route_may_have() -> None:
    assert max(len(ending_in(range(start, 256, 2))) for start in (0, 1)) < 1024


@pytest.mark.parametrize(
    ("cookie", "by"),
    [
        (f"serin-arm={CANDIDATE}", CANDIDATE),
        (f"a=1; serin-arm={STABLE}; b=2", STABLE),
        (f"a=1;serin-arm={STABLE}", STABLE),
        ("serin-arm=bot-gone", None),
        (f"not-serin-arm={CANDIDATE}", None),
        (f"serin-arm={CANDIDATE}x", None),
        ("other=1", None),
    ],
)
def test_a_cookie_that_names_one_of_the_two_goes_there(cookie: str, by: str | None) -> None:
    assert answered_by(route(BOTH)["spec"]["rules"], "Cookie", cookie) == by


def test_who_is_answered_by_weight_gets_the_cookie_of_who_answered() -> None:
    refs = route(BOTH)["spec"]["rules"][-1]["backendRefs"]
    for ref in refs:
        (added,) = ref["filters"][0]["responseHeaderModifier"]["add"]
        assert added["name"] == "Set-Cookie"
        assert added["value"] == f"serin-arm={ref['name']}; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"
    assert all("filters" not in ref for rule in route(BOTH)["spec"]["rules"][:-1] for ref in rule["backendRefs"])


def test_a_revision_that_left_gets_nobody_a_cookie() -> None:
    refs = route(BOTH, [(STABLE, 70), (CANDIDATE, 30), ("bot-old", 0)])["spec"]["rules"][-1]["backendRefs"]
    assert ["filters" in ref for ref in refs] == [True, True, False]


def test_only_what_was_asked_for_is_there() -> None:
    by_key = route(Arms(CANDIDATE, STABLE, 30, "x", header="X-User-Id"))["spec"]["rules"]
    assert [len(rule["matches"]) for rule in by_key] == [1, 1, 1]
    assert "filters" not in by_key[-1]["backendRefs"][0]
    by_cookie = route(Arms(CANDIDATE, STABLE, 30, "x", cookie_seconds=60))["spec"]["rules"]
    assert [rule["matches"][0].get("headers", [{}])[0].get("name") for rule in by_cookie] == ["Cookie", "Cookie", None]


def test_it_is_read_back_apart_from_testers() -> None:
    service = a_service()
    service["spec"]["traffic"]["testers"] = {"cookies": [{"name": "preview", "value": "on"}]}
    made = http_route(
        ModelService.model_validate(service), [(STABLE, 70), (CANDIDATE, 30)], testers=CANDIDATE, arms=BOTH
    )
    made["metadata"]["resourceVersion"] = "1"
    made["metadata"]["ownerReferences"][0]["uid"] = "uid-bot"
    view = route_view(made, ModelService.model_validate(service))
    assert view is not None
    assert view.testers == (CANDIDATE,)
    assert view.arms == (CANDIDATE, STABLE, CANDIDATE, STABLE)
    assert view.backends == ((STABLE, 70), (CANDIDATE, 30))


@pytest.mark.parametrize(
    ("header", "is_one"),
    [
        ({"name": "Cookie", "type": "RegularExpression", "value": "^(.*; ?)?serin-arm=x(;.*)?$"}, True),
        ({"name": "X-User-Id", "type": "RegularExpression", "value": "^.*([0][1])$"}, True),
        ({"name": "Cookie", "type": "RegularExpression", "value": "^(.*; ?)?preview=on(;.*)?$"}, False),
        ({"name": "X-Tester", "type": "Exact", "value": "yes"}, False),
    ],
)
def test_a_match_of_an_arm_is_told_from_those_of_testers(header: dict[str, str], is_one: bool) -> None:
    assert of_an_arm(header) is is_one
