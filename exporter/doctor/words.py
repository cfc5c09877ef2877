"""The words that columns of closed sets really hold, how often, and the class into which each falls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, word, wrong
from exporter.doctor.installation import Installation, added
from exporter.doctor.postgres import brief
from exporter.doctor.tables import KnownTable, quoted, read_needed
from exporter.errors import CollectionFailed
from exporter.labels import OTHER, UNKNOWN, folded
from exporter.sources.postgres import Transaction
from exporter.vocabulary import (
    AI_ERROR_KINDS,
    DEVICE_TYPES,
    JOB_STATUSES,
    OTHER_STATUSES,
    PAID_PLANS,
    PAYING_STATUSES,
    PREVIEW_ERROR_KINDS,
    SESSION_KINDS,
    TRIAL,
)

SAMPLE = 200_000
"""Rows whose words are counted; of tables of events the newest that the table gives quickly."""

MOST_WORDS = 30
"""Words beyond which a column holds no closed set."""

MISTAKEN = {
    "completed": "succeeded",
    "done": "succeeded",
    "success": "succeeded",
    "finished": "succeeded",
    "error": "failed",
    "failure": "failed",
    "pending": "queued",
    "waiting": "queued",
    "processing": "running",
    "started": "running",
    "in_progress": "running",
    "canceled": "cancelled",
}
"""Job states of other programs, and the words for them here."""

NULL = "NULL"


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a column as they are written, with their numbers, the most frequent first."""

    table: KnownTable
    column: str
    counts: Mapping[str, int]

    @property
    def name(self) -> str:
        """The column's full name."""
        return f"{self.table.name}.{self.column}"

    def shown(self, class_of: Callable[[str], str]) -> str:
        """Return the words with their counts, and their classes: `Free 41, Pro 9 -> free, paid`."""
        if not self.counts:
            return f"{self.name}: no rows"
        words = listed(f"{word(each)} {count:,}" for each, count in self.counts.items())
        return f"{self.name}: {words} -> {listed(class_of(each) for each in self.counts)}"

    def unknown(self, known: Sequence[str]) -> list[str]:
        """Return the words that are in no class, as they are written."""
        return [each for each in self.counts if each != NULL and folded(each) not in known]


async def _read(transaction: Transaction, tables: Mapping[str, KnownTable], table: str, column: str) -> Words | None:
    """Return the words of a column; None where it is not there, or not read in time."""
    if table not in tables or column not in tables[table].columns:
        return None
    name = quoted(column)
    rows = f"(SELECT {name} FROM {quoted(table)} LIMIT {SAMPLE}) AS sample"
    try:
        async with transaction.savepoint():
            found = await transaction.rows(
                f"SELECT coalesce({name}::text, '{NULL}'), count(*) FROM {rows}"
                f" GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {MOST_WORDS + 1}"
            )
    except CollectionFailed:
        return None
    return Words(tables[table], column, dict(found))


def _too_many(words: Words) -> list[Finding]:
    if len(words.counts) <= MOST_WORDS:
        return []
    mend = f"map {words.column} to a word in a view: CASE ... END AS {words.column}"
    return [wrong(f"{words.name} holds more than {MOST_WORDS} different words: no closed set", mend)]


@check("words.plans")
async def plans(installation: Installation) -> Findings:
    """Each plan falls into the class that it should: any word that is neither `trial` nor in FREE_PLANS is a paid
    plan."""
    free = tuple(map(folded, installation.settings.free_plans))

    def class_of(plan: str) -> str:
        return "trial" if folded(plan) == TRIAL else "free" if plan == NULL or folded(plan) in free else "paid"

    async with brief(installation) as transaction:
        tables = await read_needed(installation, transaction)
        words = await _read(transaction, tables, "subscriptions", "plan")
        status = await _read(transaction, tables, "subscriptions", "status")
    if words is None:
        return []
    findings = _too_many(words)
    unknown = words.unknown((TRIAL, *PAID_PLANS, *free))
    if unknown and not findings:
        names = tuple(folded(each) for each in unknown)
        mend = f"{added('free_plans', installation.settings.free_plans, *names)}  # if these are free"
        findings.append(
            look(f"{words.shown(class_of)}; not known here, and counted as paid: {listed(map(word, unknown))}", mend)
        )
    findings = findings or [ok(words.shown(class_of))]
    return [*findings, *_of_subscriptions(status)]


def _of_subscriptions(words: Words | None) -> list[Finding]:
    if words is None:
        return []
    if many := _too_many(words):
        return many

    def class_of(status: str) -> str:
        return "paying" if folded(status) in PAYING_STATUSES else "not paying"

    paying = [each for each in words.counts if class_of(each) == "paying"]
    unknown = words.unknown((*PAYING_STATUSES, *OTHER_STATUSES))
    if unknown:
        mend = _mapping(words, dict.fromkeys(unknown, "active"))
        found = f"{words.shown(class_of)}; not known here, and no paid plan: {listed(map(word, unknown))}"
        return [look(found, mend) if paying else wrong(found, mend)]
    return [ok(words.shown(class_of))]


@check("words.jobs")
async def jobs(installation: Installation) -> Findings:
    """Each status of a job is one of the words that the windows select by."""
    findings: list[Finding] = []
    async with brief(installation) as transaction:
        tables = await read_needed(installation, transaction)
        for table in ("ai_usage_events", "preview_jobs"):
            words = await _read(transaction, tables, table, "status")
            if words is None:
                continue
            unknown = words.unknown(JOB_STATUSES)
            shown = words.shown(lambda status: folded(status) if folded(status) in JOB_STATUSES else "in no window")
            if many := _too_many(words):
                findings += many
            elif unknown:
                mend = _mapping(words, {each: MISTAKEN.get(folded(each), "failed") for each in unknown})
                findings.append(wrong(shown, mend))
            else:
                findings.append(ok(shown))
    return findings


def _mapping(words: Words, meaning: Mapping[str, str]) -> str:
    """Return an update for words that are not known; of an enum, the renaming of its labels."""
    column = quoted(words.column)
    table = f"{quoted(words.table.schema)}.{quoted(words.table.name)}"
    facts = words.table.columns[words.column]
    lines = []
    for written, intended in meaning.items():
        text = written.replace("'", "''") if word(written) == written else "..."
        if facts.category == "E":
            lines.append(f"ALTER TYPE {facts.type} RENAME VALUE '{text}' TO '{intended}';")
        else:
            lines.append(f"UPDATE {table} SET {column} = '{intended}' WHERE {column} = '{text}';")
    return "\n".join(lines) + "  -- if it means that; or CASE in a view, where HiveSync goes on writing the old word"


@check("words.errors")
async def errors(installation: Installation) -> Findings:
    """The kinds of errors are known, or counted as `other`."""
    return await _closed(
        installation,
        (("ai_usage_events", "error_kind", AI_ERROR_KINDS), ("preview_jobs", "error_kind", PREVIEW_ERROR_KINDS)),
        OTHER,
    )


@check("words.sessions")
async def sessions(installation: Installation) -> Findings:
    """The kinds and devices of sessions are known, or counted as `unknown`."""
    return await _closed(
        installation, (("sessions", "kind", SESSION_KINDS), ("sessions", "device_type", DEVICE_TYPES)), UNKNOWN
    )


async def _closed(
    installation: Installation, columns: Sequence[tuple[str, str, Sequence[str]]], rest: str
) -> list[Finding]:
    findings: list[Finding] = []
    async with brief(installation) as transaction:
        tables = await read_needed(installation, transaction)
        for table, column, known in columns:
            words = await _read(transaction, tables, table, column)
            if words is None:
                continue
            counts = Counter({each: count for each, count in words.counts.items() if each != NULL})
            unknown = words.unknown(known)
            shown = Words(words.table, column, counts).shown(
                lambda each, known=known: folded(each) if folded(each) in known else rest  # type: ignore[misc]
            )
            if many := _too_many(words):
                findings += many
            elif unknown:
                mend = f"map them in a view: CASE {quoted(column)}::text " + " ".join(
                    f"WHEN '{word(each)}' THEN '{known[0]}'" for each in unknown[:3]
                )
                findings.append(
                    look(shown, f"{mend} ELSE {quoted(column)}::text END, with the word of: {', '.join(known)}")
                )
            else:
                findings.append(ok(shown))
    return findings


CHECKS = (plans, jobs, errors, sessions)
