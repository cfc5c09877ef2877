"""The promises of reliability, each checked by one or more faults; docs/reliability.md lists both."""

from __future__ import annotations

from typing import Final

ISOLATION: Final = "isolation"
EXACTNESS: Final = "exactness"
LOGS: Final = "log lines"
STATE: Final = "state"
IDENTITY: Final = "identity of a server"
CLIENTS: Final = "clients"
PROCESS: Final = "process"

PROMISES = {
    ISOLATION: "A source that fails takes its own values away, and no others: each of its gauges is absent, counters"
    " stay, `hivesync_source_up` or `hivesync_collector_up` is 0, and everything returns by itself.",
    EXACTNESS: "A fault that does not keep a source from answering changes no value: nothing is degraded, and every"
    " value equals plain SQL and the lists of Redis.",
    LOGS: "No line of a log is lost or counted twice, through any state of the file.",
    STATE: "The state directory is a cache: a fault of it costs at most the counts in it, never a wrong one.",
    IDENTITY: "Another server in the place of the known one is found, and everything of the former one is read again.",
    CLIENTS: "No client keeps another from its answer, on either port.",
    PROCESS: "Nothing outside the exporter ends it, except SIGTERM, SIGINT and SIGKILL; after a stop, a kill or a step"
    " of its clock, the values are right.",
}
