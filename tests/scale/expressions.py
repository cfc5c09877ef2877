"""Every shipped expression, complete in itself: Grafana's variables filled in, and recorded metrics replaced by their
expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.grafana.boards import targets
from tests.prometheus.rules import rules

VARIABLES = {"$__rate_interval": "60s", "$__range": "600s", "$__interval": "30s"}

_RECORDED = re.compile(r"\b[a-z]+:hivesync_\w+:\w+|\bhivesync:\w+:\w+")


def of_panels() -> dict[str, str]:
    """The expressions of panels, by dashboard and panel."""
    found = {}
    for target in targets("prometheus"):
        expression = target.expression
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        assert "$" not in expression
        found[target.where] = expression
    return found


def of_rules() -> dict[str, str]:
    """The expressions of rules, by recorded metric or alert. Thresholds are so low that every value exceeds them, ages
    of past events included."""
    found = {}
    for number, rule in enumerate((*rules("recording"), *rules("alerts"))):
        name = rule.get("record") or f"{rule['alert']} {rule['labels']['severity']}"
        found[f"{number} {name}"] = complete(rule["expr"])
    return found


def complete(expression: str) -> str:
    """The expression with recorded metrics replaced by their expressions; a name with a label selector stays, as it
    selects nothing."""

    def put_in(match: re.Match[str]) -> str:
        followed_by_labels = expression[match.end() : match.end() + 1] == "{"
        return match[0] if followed_by_labels else f"({' or '.join(_recorded_as(match[0]))})"

    return _RECORDED.sub(put_in, expression)


def _recorded_as(name: str) -> Iterator[str]:
    of_this_name = [rule for file in ("thresholds", "recording") for rule in rules(file) if rule.get("record") == name]
    assert of_this_name, name
    for rule in of_this_name:
        is_threshold = rule in rules("thresholds")
        expression = "vector(-1e9)" if is_threshold else f"({complete(rule['expr'])})"
        for label, value in rule.get("labels", {}).items():
            expression = f'label_replace({expression}, "{label}", "{value}", "", "")'
        yield expression
