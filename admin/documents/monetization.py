"""Plans, projects and AI cost: `/monetization`, and its section of the page.

See docs/definitions.md#plan-class and docs/definitions.md#ai-cost.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from admin.documents.cards import (
    PLAN_CLASSES,
    POSTGRES,
    REDIS,
    Card,
    Document,
    Meaning,
    Number,
    TableCard,
    TableColumn,
    each,
)
from admin.documents.models import Amount, ByPlan, Count, Model, known
from admin.documents.summary import paid_free_ratio
from admin.documents.values import Value, Values, combined
from exporter.collectors import cost, users
from exporter.collectors.users import FRESHNESS
from exporter.labels import OTHER
from presentation.label_styles import COMPONENTS, PLANS

NO_PRICES = "no prices"
SO_FAR = "this calendar month (UTC) so far"


def _cost(id: str, title: str, projection: str, window: str) -> Card:  # noqa: A002
    path = f"monetization/cost_month_{id}_dollars"
    return Card(
        f"cost-{id}",
        title,
        Meaning(
            f"Tokens at the price of their model, and GPU instances at their hourly price, from the price file. "
            f"{projection}",
            window,
            f"{POSTGRES} (tokens), {REDIS} (GPU)",
        ),
        (
            *each(path, COMPONENTS, "dollars", NO_PRICES),
            Number("Total", f"{path}/total", "dollars", NO_PRICES),
        ),
        is_estimate=True,
    )


CARDS = (
    Card(
        "users-by-plan",
        "Users and projects",
        Meaning(f"All users by plan, and all projects. {PLAN_CLASSES}", f"now. {FRESHNESS}", POSTGRES),
        (
            Number("All users", "monetization/users"),
            *each("monetization/users_by_plan", PLANS),
            Number("Projects", "monetization/projects"),
        ),
    ),
    _cost("to_date", "AI cost so far", "", SO_FAR),
    _cost(
        "projected",
        "AI cost projected",
        "Projected in proportion to the elapsed time.",
        "this calendar month (UTC) to its end",
    ),
)

TABLES = (
    TableCard(
        "tokens",
        "AI tokens this month",
        Meaning(
            "Tokens by model and direction; models without a price are listed as other.",
            SO_FAR,
            POSTGRES,
        ),
        "monetization/tokens_month_to_date",
        (
            TableColumn("model", "Model"),
            TableColumn("direction", "Direction", styles="directions"),
            TableColumn("tokens", "Tokens", "number"),
        ),
        "No tokens this month",
    ),
)


class Tokens(Model):
    """Tokens of one model and direction, this month."""

    model: str
    direction: str
    tokens: Count


class Dollars(Model):
    """An estimate; null without a price file."""

    tokens: Amount
    gpu: Amount
    total: Amount = Field(description="Of the components that are provided.")


class Monetization(Model):
    """Monetization: plans, projects and AI cost."""

    users: Count
    users_by_plan: ByPlan
    projects: Count
    paid_free_ratio: Amount
    estimate: Literal[True] = Field(description="Costs are estimates.")
    tokens_month_to_date: list[Tokens]
    cost_month_to_date_dollars: Dollars
    cost_month_projected_dollars: Dollars


def build(values: Values) -> Monetization:
    """The document."""
    return Monetization(
        users=known(values.total(users.USERS), int),
        users_by_plan=ByPlan(
            **{plan: known(values.value(users.USERS, plan=plan), int) for plan in ByPlan.model_fields}
        ),
        projects=known(values.value(users.PROJECTS), int),
        paid_free_ratio=known(paid_free_ratio(values), float),
        estimate=True,
        tokens_month_to_date=[
            Tokens(model=model, direction=direction, tokens=known(value, int))
            for (model, direction), value in _tokens(values)
        ],
        cost_month_to_date_dollars=_dollars(values, projected=False),
        cost_month_projected_dollars=_dollars(values, projected=True),
    )


def _tokens(values: Values) -> list[tuple[tuple[str, ...], Value]]:
    """The tokens by model and direction; a direction that is not provided is a row of the model `other`."""
    found = values.each(cost.TOKENS)
    for direction in cost.DIRECTIONS:
        missing = values.missing(cost.TOKENS, model=OTHER, direction=direction)
        if missing.input is not None:
            found.append(((OTHER, direction), missing))
    return sorted(found, key=lambda tokens: tokens[0])


def _dollars(values: Values, *, projected: bool) -> Dollars:
    spec = cost.PROJECTED if projected else cost.MONTH_TO_DATE
    parts = {component: values.value(spec, component=component) for component in COMPONENTS}
    return Dollars(
        total=known(combined(parts.values(), sum), float),
        **{component: known(part, float) for component, part in parts.items()},
    )


DOCUMENT = Document("monetization", "Monetization", Monetization, build, CARDS, TABLES)
