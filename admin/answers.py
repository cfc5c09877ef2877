"""What each path of the API says of a reading: every metric of the specification's §3, and §4's header."""

from __future__ import annotations

from admin.models import (
    Ai,
    AiErrors,
    ByPlan,
    CollectorState,
    Content,
    Dollars,
    GrafanaState,
    Known,
    Latencies,
    Latency,
    Monetization,
    OnlineDevices,
    PerUser,
    Points,
    Processing,
    Queue,
    Queues,
    Requests,
    SourceState,
    State,
    Summary,
    Tokens,
    Users,
    Worker,
    Workers,
)
from admin.readings import Reading, Value, combined, iso, ratio
from exporter.collectors import activity, ai, cost, logs, online, previews, queues, users, workers
from exporter.collectors import latency as jobs
from exporter.labels import OTHER
from exporter.version import VERSION

TRENDS = ("online_users", "ai_requests_last_hour", "ai_queue_depth", "preview_queue_depth", "paid_free_ratio")
"""The header's cards, in its order."""


def header(reading: Reading) -> dict[str, Value]:
    """The values of the header's cards."""
    by_plan = {plan: reading.value(users.USERS, plan=plan) for plan in ("paid", "free")}
    return {
        "online_users": reading.value(online.ONLINE_USERS),
        "ai_requests_last_hour": reading.value(ai.REQUESTS, window="1h"),
        "ai_queue_depth": reading.total(queues.DEPTH, queue="ai"),
        "preview_queue_depth": reading.total(queues.DEPTH, queue="preview"),
        "paid_free_ratio": combined(by_plan.values(), ratio),
        "paid_users": by_plan["paid"],
        "free_users": by_plan["free"],
    }


def summary(reading: Reading, trends: dict[str, Points]) -> Summary:
    """`/summary`."""
    values = {
        name: known(value, float if name == "paid_free_ratio" else int) for name, value in header(reading).items()
    }
    return Summary(degraded=reading.degraded, trends=trends, **values)  # type: ignore[arg-type]


def users_and_sessions(reading: Reading) -> Users:
    """`/users`."""
    return Users(
        online_users=known(reading.value(online.ONLINE_USERS), int),
        online_devices=OnlineDevices(
            **{
                kind: known(reading.value(online.ONLINE_DEVICES, device_type=kind), int)
                for kind in OnlineDevices.model_fields
            }
        ),
        live_view_sessions=known(reading.value(online.LIVE_VIEW_SESSIONS), int),
        daily_active_users=known(reading.total(activity.ACTIVE_USERS, window="24h"), int),
        monthly_active_users=known(reading.total(activity.ACTIVE_USERS, window="30d"), int),
        daily_active_users_by_plan=_active(reading, "24h"),
        monthly_active_users_by_plan=_active(reading, "30d"),
    )


def ai_usage(reading: Reading) -> Ai:
    """`/ai`."""
    return Ai(
        requests_per_minute=known(reading.value(ai.REQUESTS, window="1m"), int),
        requests_per_hour=known(reading.value(ai.REQUESTS, window="1h"), int),
        requests_per_day=known(reading.value(ai.REQUESTS, window="24h"), int),
        requests_per_user=PerUser(
            **{
                statistic: known(reading.value(ai.PER_USER, window="24h", statistic=statistic), float)
                for statistic in PerUser.model_fields
            }
        ),
        errors=AiErrors(
            **{kind: known(reading.value(ai.ERRORS, window="24h", kind=kind), int) for kind in AiErrors.model_fields}
        ),
        log_events={event: known(reading.value(logs.AI_EVENTS, event=event), int) for event in logs.AI.known_events},
        log_errors={
            kind: known(reading.value(logs.AI_ERRORS, kind=kind), int) for kind in (*logs.AI.known_kinds, OTHER)
        },
    )


def queues_and_jobs(reading: Reading) -> Queues:
    """`/queues`."""
    done, seconds = reading.summary(queues.PROCESSING, queue="ai")
    return Queues(
        ai_queue_depth=known(reading.total(queues.DEPTH, queue="ai"), int),
        preview_queue_depth=known(reading.total(queues.DEPTH, queue="preview"), int),
        queues=[
            Queue(queue=queue, name=name, depth=known(value, int))
            for (queue, name), value in sorted(reading.each(queues.DEPTH), key=lambda depth: depth[0])
        ],
        latency_seconds=Latencies(
            **{
                queue: Latency(
                    **{
                        window: known(reading.value(jobs.LATENCY, queue=queue, window=window), float)
                        for window in jobs.WINDOWS
                    }
                )
                for queue in jobs.TABLES
            }
        ),
        preview_requests=Requests(
            **{window: known(reading.value(previews.REQUESTS, window=window), int) for window in ai.REQUEST_WINDOWS}
        ),
        processing=Processing(jobs=known(done, int), seconds=known(seconds, float)),
    )


def all_workers(reading: Reading) -> Workers:
    """`/workers`: those that have sent heartbeats lately, by name."""
    healthy = reading.each(workers.HEALTHY)
    states = {worker: state for (worker, state), value in reading.each(workers.GPU_STATE) if value.value}
    instances = {worker: (kind, lifecycle) for (worker, kind, lifecycle), _ in reading.each(workers.GPU_INFO)}
    nothing = reading.nothing(*(view for view in reading.view.collectors if workers.HEALTHY in view.specs))
    rows = []
    for (worker, kind), value in sorted(healthy, key=lambda sample: (sample[0][1], sample[0][0])):
        at = reading.value(workers.LAST_HEARTBEAT, worker=worker, kind=kind)
        instance, lifecycle = instances.get(worker, (None, None)) if kind == "gpu" else (None, None)
        state = states.get(worker) if kind == "gpu" else None
        rows.append(
            Worker(
                worker=worker,
                kind=kind,
                healthy=known(value, bool),
                last_heartbeat=known(at.showing(iso(at.number)), str),
                state=known(value.showing(state), str),
                instance_type=known(value.showing(instance), str),
                lifecycle=known(value.showing(lifecycle), str),
            )
        )
    counted = nothing.as_of is not None
    return Workers(
        healthy=known(nothing.showing(sum(bool(value.value) for _, value in healthy) if counted else None), int),
        total=known(nothing.showing(len(healthy) if counted else None), int),
        workers=rows,
    )


def monetization(reading: Reading) -> Monetization:
    """`/monetization`."""
    return Monetization(
        users=known(reading.total(users.USERS), int),
        users_by_plan=ByPlan(
            **{plan: known(reading.value(users.USERS, plan=plan), int) for plan in ByPlan.model_fields}
        ),
        projects=known(reading.value(users.PROJECTS), int),
        paid_free_ratio=known(header(reading)["paid_free_ratio"], float),
        estimate=True,
        tokens_month_to_date=[
            Tokens(model=model, direction=direction, tokens=known(value, int))
            for (model, direction), value in sorted(reading.each(cost.TOKENS), key=lambda tokens: tokens[0])
        ],
        cost_month_to_date_dollars=_dollars(reading, projected=False),
        cost_month_projected_dollars=_dollars(reading, projected=True),
    )


def state(reading: Reading, grafana: GrafanaState) -> State:
    """`/status`."""
    return State(
        degraded=reading.degraded,
        version=VERSION,
        sources=[
            SourceState(source=view.name, up=view.up, last_success=iso(view.last_success), error=view.error)
            for view in reading.view.sources
        ],
        collectors=[
            CollectorState(
                collector=view.name,
                sources=list(view.sources),
                up=view.up,
                interval_seconds=view.interval,
                last_success=iso(view.last_success),
                error=view.error,
            )
            for view in reading.view.collectors
        ],
        grafana=grafana,
    )


def known(value: Value, kind: type[Content]) -> Known[Content]:
    """A value as the API has it. Raises ValidationError where it is not of that kind."""
    content = value.value
    if kind is int and isinstance(content, float):
        content = int(content)
    if kind is bool and content is not None:
        content = bool(content)
    return Known[kind](  # type: ignore[valid-type]
        value=content,
        status="ok" if value.ok else "degraded",
        sources=list(value.sources),
        as_of=iso(value.as_of),
    )


def _active(reading: Reading, window: str) -> ByPlan:
    return ByPlan(
        **{
            plan: known(reading.value(activity.ACTIVE_USERS, window=window, plan=plan), int)
            for plan in ByPlan.model_fields
        }
    )


def _dollars(reading: Reading, *, projected: bool) -> Dollars:
    spec = cost.PROJECTED if projected else cost.MONTH_TO_DATE
    parts = {component: reading.value(spec, component=component) for component in ("tokens", "gpu")}
    return Dollars(
        total=known(combined(parts.values(), sum), float),
        **{component: known(part, float) for component, part in parts.items()},
    )
