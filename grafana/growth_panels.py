"""The panels of growth, of the dashboard HiveSync Analytics (`dashboards/analytics.py`)."""

from __future__ import annotations

from exporter.collectors.activity import ACTIVE_IN_MONTH, ACTIVE_USERS, PREVIOUSLY_ACTIVE
from exporter.collectors.cost import MONTH_TO_DATE
from exporter.collectors.cost import REQUESTS as REQUESTS_ENDED
from exporter.collectors.growth import NEW_USERS, PAID_PLANS_ENDED, TRIALS_ENDED
from exporter.collectors.users import USERS
from grafana.drawing import about, bargauge, stat, timeseries
from grafana.promql import Not, max_by, ratio, sum_by
from grafana.queries import PromQL
from grafana.sdk import dashboard
from presentation import label_styles
from presentation.panels import Analytics

PERCENT, DOLLARS = "percentunit", "currencyUSD"


def growth() -> list[dashboard.Panel]:
    """Build the panels of growth."""
    daily, monthly = (sum_by(ACTIVE_USERS, window=window) for window in ("24h", "30d"))
    converted = max_by(TRIALS_ENDED, window="30d", plan="paid")
    lost = sum_by(PAID_PLANS_ENDED, window="30d", plan=Not("paid"))
    paid = max_by(USERS, plan="paid")
    # As `cost_now`: no value while a component is unknown.
    cost = " + ".join(max_by(MONTH_TO_DATE, component=component) for component in ("tokens", "gpu"))
    return [
        stat(
            Analytics.STICKINESS,
            about(ACTIVE_USERS, "Shown: active in the last 24 hours, as a share of active in the last 30 days."),
            PromQL(ratio(daily, monthly)),
            unit=PERCENT,
            decimals=1,
        ),
        bargauge(
            Analytics.NEW_USERS,
            about(NEW_USERS),
            PromQL(max_by(NEW_USERS, "window"), "{{window}}"),
            styles=label_styles.DAYS,
        ),
        timeseries(
            Analytics.PREVIOUSLY_ACTIVE,
            about(PREVIOUSLY_ACTIVE),
            PromQL(max_by(PREVIOUSLY_ACTIVE, "state", window="30d"), "{{state}}"),
            styles=label_styles.ACTIVE_SINCE,
            stacked=True,
        ),
        stat(
            Analytics.TRIAL_CONVERSION,
            about(TRIALS_ENDED, "Shown: the share that is paid now; no value without a trial that ended."),
            PromQL(ratio(converted, sum_by(TRIALS_ENDED, window="30d"))),
            unit=PERCENT,
            decimals=1,
        ),
        bargauge(
            Analytics.TRIALS_ENDED,
            about(TRIALS_ENDED),
            PromQL(max_by(TRIALS_ENDED, "plan", window="30d"), "{{plan}}"),
            styles=label_styles.PLANS,
        ),
        stat(
            Analytics.CHURN,
            about(PAID_PLANS_ENDED, "Shown: lost customers, as a share of these and of the users who are paid now."),
            PromQL(ratio(lost, f"({lost} + {paid})")),
            unit=PERCENT,
            decimals=1,
        ),
        bargauge(
            Analytics.PAID_PLANS_ENDED,
            about(PAID_PLANS_ENDED),
            PromQL(max_by(PAID_PLANS_ENDED, "plan", window="30d"), "{{plan}}"),
            styles=label_styles.PLANS,
        ),
        stat(
            Analytics.COST_PER_ACTIVE_USER,
            about(ACTIVE_IN_MONTH, "Shown: AI cost so far, an estimate, per such user."),
            PromQL(ratio(f"({cost})", max_by(ACTIVE_IN_MONTH))),
            unit=DOLLARS,
            decimals=2,
        ),
        stat(
            Analytics.COST_PER_1000_REQUESTS,
            about(REQUESTS_ENDED, "Shown: AI cost so far, an estimate, per 1,000 such requests."),
            PromQL(f"1000 * {ratio(f'({cost})', max_by(REQUESTS_ENDED))}"),
            unit=DOLLARS,
            decimals=2,
        ),
    ]
