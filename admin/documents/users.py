"""Users and devices: `/users`, and its section of the page.

See docs/definitions.md#active-users, docs/definitions.md#online-user and docs/definitions.md#online-device.
"""

from __future__ import annotations

from admin.documents.before import active_users
from admin.documents.cards import (
    ACTIVE,
    BOTH,
    ONLINE,
    PLAN_CLASSES,
    POSTGRES,
    Card,
    Document,
    Meaning,
    Number,
    each,
)
from admin.documents.models import ByPlan, ComparedCount, Count, Model, compared, known
from admin.documents.values import Values
from exporter.collectors import activity, online
from presentation.label_styles import DEVICES, PLANS

CARDS = (
    Card(
        "online-now",
        "Online now",
        Meaning(f"{ONLINE} Live View sessions: online sessions of that kind.", "now", BOTH),
        (
            Number("Users", "users/online_users"),
            Number("Live View sessions", "users/live_view_sessions"),
        ),
    ),
    Card(
        "online-devices",
        "Online devices",
        Meaning("Online sessions by type of device; a WebSocket and its session are one device.", "now", BOTH),
        each("users/online_devices", DEVICES),
    ),
    Card(
        "dau",
        "Daily active users",
        Meaning(f"{ACTIVE}, by their current plan. {PLAN_CLASSES}", "the last 24 hours, sliding", POSTGRES),
        (
            Number("All", "users/daily_active_users", than="in the 24 hours before"),
            *each("users/daily_active_users_by_plan", PLANS),
        ),
    ),
    Card(
        "mau",
        "Monthly active users",
        Meaning(f"{ACTIVE}, by their current plan. {PLAN_CLASSES}", "the last 30 days, sliding", POSTGRES),
        (
            Number("All", "users/monthly_active_users", than="in the 30 days before"),
            *each("users/monthly_active_users_by_plan", PLANS),
        ),
    ),
)


class OnlineDevices(Model):
    """Online devices by type."""

    desktop: Count
    ipad: Count
    phone: Count
    unknown: Count


class Users(Model):
    """Users and devices."""

    online_users: Count
    online_devices: OnlineDevices
    live_view_sessions: Count
    daily_active_users: ComparedCount
    monthly_active_users: ComparedCount
    daily_active_users_by_plan: ByPlan
    monthly_active_users_by_plan: ByPlan


def build(values: Values) -> Users:
    """The document."""
    return Users(
        online_users=known(values.value(online.ONLINE_USERS), int),
        online_devices=OnlineDevices(
            **{
                kind: known(values.value(online.ONLINE_DEVICES, device_type=kind), int)
                for kind in OnlineDevices.model_fields
            }
        ),
        live_view_sessions=known(values.value(online.LIVE_VIEW_SESSIONS), int),
        daily_active_users=_active(values, "24h"),
        monthly_active_users=_active(values, "30d"),
        daily_active_users_by_plan=_by_plan(values, "24h"),
        monthly_active_users_by_plan=_by_plan(values, "30d"),
    )


def _active(values: Values, window: str) -> ComparedCount:
    return compared(values.total(activity.ACTIVE_USERS, window=window), active_users(values, window))


def _by_plan(values: Values, window: str) -> ByPlan:
    return ByPlan(
        **{
            plan: known(values.value(activity.ACTIVE_USERS, window=window, plan=plan), int)
            for plan in ByPlan.model_fields
        }
    )


DOCUMENT = Document("users", "Users and devices", Users, build, CARDS)
