"""Workers: `/workers`, and its section of the page. See docs/definitions.md#worker."""

from __future__ import annotations

from admin.documents.cards import POSTGRES, REDIS, Card, Document, Meaning, Number, TableCard, TableColumn
from admin.documents.models import Count, Flag, Model, Text, known
from admin.documents.values import Values, iso
from exporter.collectors import workers

HEARTBEATS = f"{REDIS}, or {POSTGRES} by the setting WORKERS_FROM"

CARDS = (
    Card(
        "workers",
        "Healthy workers",
        Meaning(
            "Workers with a recent heartbeat (120 s, unless configured otherwise), out of all known workers.",
            "now",
            HEARTBEATS,
        ),
        (Number("Healthy", "workers/healthy"), Number("Known", "workers/total")),
    ),
)

TABLES = (
    TableCard(
        "workers",
        "CPU and GPU workers",
        Meaning(
            "Healthy: the last heartbeat is recent. A GPU worker is active or idle, or offline without a recent "
            "heartbeat.",
            "now; a worker without a heartbeat for 24 hours is dropped",
            HEARTBEATS,
        ),
        "workers/workers",
        (
            TableColumn("worker", "Worker", is_code=True),
            TableColumn("kind", "Kind", styles="worker_kinds"),
            TableColumn("healthy", "Health", styles="health", has_dot=True),
            TableColumn("state", "State", styles="worker_states", has_dot=True),
            TableColumn("last_heartbeat", "Last heartbeat", "time"),
            TableColumn("instance_type", "Instance"),
            TableColumn("lifecycle", "Lifecycle"),
        ),
        "No known workers",
        needs=workers.HEALTHY.needs,
    ),
)


class Worker(Model):
    """One worker; state, instance type and lifecycle are null except for GPU workers."""

    worker: str
    kind: str
    healthy: Flag
    last_heartbeat: Text
    state: Text
    instance_type: Text
    lifecycle: Text


class Workers(Model):
    """Workers."""

    healthy: Count
    total: Count
    workers: list[Worker]


def build(values: Values) -> Workers:
    """The document; workers in the order of their kind and name."""
    healthy = values.each(workers.HEALTHY)
    states = {worker: state for (worker, state), value in values.each(workers.GPU_STATE) if value.value}
    instances = {worker: (kind, lifecycle) for (worker, kind, lifecycle), _ in values.each(workers.GPU_INFO)}
    rows = []
    for (worker, kind), value in sorted(healthy, key=lambda sample: (sample[0][1], sample[0][0])):
        at = values.value(workers.LAST_HEARTBEAT, worker=worker, kind=kind)
        instance, lifecycle = instances.get(worker, (None, None)) if kind == "gpu" else (None, None)
        state = states.get(worker) if kind == "gpu" else None
        rows.append(
            Worker(
                worker=worker,
                kind=kind,
                healthy=known(value, bool),
                last_heartbeat=known(at.replaced(iso(at.number)), str),
                state=known(value.replaced(state), str),
                instance_type=known(value.replaced(instance), str),
                lifecycle=known(value.replaced(lifecycle), str),
            )
        )
    missing = values.missing(workers.HEALTHY)
    counted = missing.as_of is not None
    return Workers(
        healthy=known(missing.replaced(sum(bool(value.value) for _, value in healthy) if counted else None), int),
        total=known(missing.replaced(len(healthy) if counted else None), int),
        workers=rows,
    )


DOCUMENT = Document("workers", "Workers", Workers, build, CARDS, TABLES)
