"""The audit policy keeps whole objects of our group and leaves the cluster's own chatter out."""

from __future__ import annotations

from serin_devcluster.audit import GROUP, audit_policy


def test_writes_to_our_group_are_kept_whole() -> None:
    rules = audit_policy()["rules"]
    ours = [rule for rule in rules if any(entry["group"] == GROUP for entry in rule.get("resources", []))]
    assert [rule["level"] for rule in ours] == ["RequestResponse"]


def test_what_no_rule_names_is_not_logged() -> None:
    assert audit_policy()["rules"][-1] == {"level": "None"}
