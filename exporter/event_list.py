"""Every event that the exporter, the Analytics section and the roll-up log.

docs/events.md is generated from this list, and a test keeps it complete: an event is one line here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogEvent:
    """An event's meaning, and its fields beside `event`, `level` and `timestamp`."""

    meaning: str
    fields: tuple[str, ...] = ()


EVENTS = {
    "service.starting": LogEvent("The exporter starts.", ("version", "revision", "settings")),
    "service.stopped": LogEvent("The exporter or the roll-up has stopped after SIGTERM or SIGINT."),
    "service.reloaded": LogEvent("SIGHUP: `prices` or `credentials` have been read again.", ("part",)),
    "service.reload_failed": LogEvent(
        "SIGHUP: `prices` or `credentials` could not be read; the earlier ones stay in use.", ("part", "reason")
    ),
    "settings.unknown_variable": LogEvent(
        "A variable with the prefix `HIVESYNC_` is no setting: misspelt, or another program's.", ("variable",)
    ),
    "doctor.found": LogEvent(
        "At the start, a cheap check of `python -m exporter doctor` has found something wrong; with the exact remedy.",
        ("check", "found", "mend"),
    ),
    "system.analytics.degraded": LogEvent(
        "A source, or one collector alone, fails from now on; with the kind of failure. At most one pair of this event"
        " and the next is logged per minute; the following one has the number of pairs left out.",
        ("source", "collector", "kind", "detail", "where", "metric", "left_out"),
    ),
    "system.analytics.recovered": LogEvent(
        "The source or the collector works again.", ("source", "collector", "left_out")
    ),
    "source.changed": LogEvent(
        "Another server answers than before, for the reason given: everything read from the former one is dropped and"
        " read again. PostgreSQL: `recovery` (a standby, or a promotion), `timeline`, `system_identifier`, `database`,"
        " `transaction_id` (it went back), `server_start` (perhaps a mere restart: where system identifier and timeline"
        " are not readable, and on a standby, the two look the same). Redis: `run_id`.",
        ("source", "reason"),
    ),
    "plan.unknown": LogEvent(
        "A plan that is neither known nor in `FREE_PLANS`, with the class of its users; once per plan.",
        ("plan", "plan_class", "setting"),
    ),
    "cost.model_without_price": LogEvent(
        "The tokens of this model count as `other` and cost nothing; once per model. A name with an id, an address or"
        " unusual characters is withheld: it may identify a user.",
        ("model",),
    ),
    "queue.no_key_matches": LogEvent(
        "No key in Redis matches the patterns of a queue: its depth is not known, neither 0 nor an alert. Write"
        " the queue's keys into the setting. Once until a key matches.",
        ("queue", "setting", "patterns", "remedy"),
    ),
    "collector.beyond_limit": LogEvent(
        "There are more workers or lists than a collector distinguishes (docs/definitions.md, Limits of workers and"
        " lists); `beyond` is their number now. Once until there are fewer.",
        ("collector", "limit", "beyond"),
    ),
    "jobs.no_index": LogEvent(
        "No index helps to find the waiting jobs of a large table: it is read as a whole, in a hundredth of the time at"
        " most. The remedy is for a table; a view needs the index on the table beneath it. Once until an index helps.",
        ("table", "remedy"),
    ),
    "log.lines_lost": LogEvent(
        "Lines of a log may be lost. `not_found`: the file that was being read is in none of the folders in"
        " `looked_in`; `archive_damaged`: a compressed file is cut off.",
        ("log", "reason", "file", "inode", "read_bytes", "looked_in"),
    ),
    "log.files_left_out": LogEvent(
        "Files that may be rotated ones of a log are not read, for the reason given.",
        ("log", "reason", "files", "count"),
    ),
    "state.directory_closed": LogEvent(
        "The state directory was open to other users, and is now closed to them.", ("path", "mode")
    ),
    "log.events_dropped": LogEvent(
        "Events of this log were dropped here, because standard error took no more: a pipe that was not read, a disk"
        " that was full or hung. `hivesync_log_events_dropped_total` is their number since the start.",
        ("count",),
    ),
    "state.corrupt": LogEvent(
        "A state file cannot be read; counting starts over, and the file is kept.", ("file", "kept_as", "reason")
    ),
    "state.lock_lost": LogEvent(
        "The state directory was replaced while the exporter runs, and may be another exporter's: nothing is saved, and"
        " counters stand still, until a restart.",
        ("path",),
    ),
    "state.lock_retaken": LogEvent(
        "The state directory, or its lock, was removed while the exporter runs: it is made and locked again.", ("path",)
    ),
    "control.no_socket": LogEvent(
        "The control socket cannot be made (its path is too long, or taken): no command reaches this exporter.",
        ("path", "reason"),
    ),
    "control.socket_removed": LogEvent("The control socket was removed, and is made again.", ("path",)),
    "runtime.exception": LogEvent(
        "An error outside any refresh or request: in a thread, a callback or a finalizer; type and place only.",
        ("origin", "kind", "where", "object"),
    ),
    "runtime.warning": LogEvent("A warning of Python or a library; type and place only.", ("kind", "where")),
    "runtime.message": LogEvent(
        "A message that a library logged; logger and place only.", ("logger", "severity", "where", "kind")
    ),
    "http.answer.failed": LogEvent(
        "A request to a port (`metrics` or `admin`) failed for a fault of this program.", ("port", "kind", "where")
    ),
    "web.config.reread": LogEvent("A changed web configuration is used from now on.", ("port", "file")),
    "web.config.refused": LogEvent(
        "A changed web configuration is wrong, for the reason given: the one before stays. Once per reason.",
        ("port", "reason"),
    ),
    "web.config.unsupported": LogEvent(
        "A key of the web configuration is not supported and has no effect: `http2`, as only HTTP/1.1 is spoken.",
        ("port", "file", "key"),
    ),
    "admin.section.failed": LogEvent(
        "The Analytics section could not be loaded, with the reason: the admin port answers 503, all else goes on."
        " It is tried again every ten seconds; once per reason.",
        ("kind", "reason", "where"),
    ),
    "admin.section.loaded": LogEvent("The Analytics section is loaded, after a failure."),
    "admin.no_credential": LogEvent(
        "No credential of the administrator is set: the Analytics section answers 503.", ("set_one_of",)
    ),
    "admin.tokens.weak_secret": LogEvent(
        "The secret for admin tokens is shorter than recommended.", ("bytes", "recommended_bytes")
    ),
    "admin.tokens.weak_key": LogEvent(
        "The key for admin tokens is shorter than recommended.", ("bits", "recommended_bits")
    ),
    "admin.login.accepted": LogEvent("A login in the browser.", ("via", "address")),
    "admin.login.refused": LogEvent(
        "A login was refused; at most 30 a minute with the next one.", ("address", "reason", "left_out")
    ),
    "admin.access.refused": LogEvent("A request was refused.", ("address", "reason", "left_out")),
    "admin.host.refused": LogEvent(
        "A request for another host name than that of the setting, an address or `localhost`: a proxy that is not in"
        " the setting, or DNS rebinding; at most 30 a minute with the next one.",
        ("address", "host", "setting", "left_out"),
    ),
    "admin.logout": LogEvent("A logout in the browser.", ("session", "address")),
    "admin.session.ended": LogEvent(
        "An administrator has ended a session, on the page or by `python -m exporter sessions`.", ("session", "by")
    ),
    "admin.sessions.not_saved": LogEvent(
        "The list of open sessions cannot be saved: logins and logouts since then are forgotten at a restart.",
        ("reason",),
    ),
    "admin.sessions.corrupt": LogEvent("The list of open sessions is damaged: all sessions end.", ("reason",)),
    "admin.sessions.unreadable": LogEvent(
        "The disk does not give the list of open sessions: all sessions end.", ("reason",)
    ),
    "admin.session_key.replaced": LogEvent("The key of the session cookies was unusable: all sessions end.", ("file",)),
    "admin.session_key.unreadable": LogEvent(
        "The key of the session cookies cannot be read: sessions end with this process.", ("file", "reason")
    ),
    "admin.session_key.not_saved": LogEvent(
        "The key of the session cookies cannot be saved: sessions end with this process.", ("file", "reason")
    ),
    "admin.grafana.up": LogEvent("Grafana answers."),
    "admin.grafana.down": LogEvent("Grafana does not answer: the page draws the charts itself.", ("reason",)),
    "admin.grafana.unanswered": LogEvent("Grafana did not answer a request.", ("kind",)),
    "admin.grafana.interrupted": LogEvent("A response of Grafana ended early.", ("kind",)),
    "rollup.reading": LogEvent("Days are being read.", ("first", "last", "done", "of")),
    "rollup.day_written": LogEvent("A day is written, of a run over many.", ("day", "done", "of")),
    "rollup.finished": LogEvent("A run is finished.", ("days", "seconds", "first", "last")),
    "rollup.already_running": LogEvent(
        "Another session holds the lock of the roll-up's table, as another roll-up does: nothing was written.",
        ("holders",),
    ),
    "rollup.lock_lasts": LogEvent(
        "Runs in a row found the lock held and wrote nothing; once until a run succeeds.", ("runs", "detail")
    ),
    "rollup.history_written": LogEvent(
        "`--history` has written the past of the metrics.", ("series", "samples", "first", "last")
    ),
}
