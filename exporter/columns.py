"""SQL that reads a column of HiveSync's of any type: the accepted types are decided here, not in each query
(docs/definitions.md#types-and-words).

ORMs create enums, domains, `varchar`, `char(n)` or `citext` for the documented text columns, and uuid, integers or text
for ids. Each template takes a column (`sessions.device_type`) and gives an expression of one known type, the same for
all of these. The collectors and the roll-up use this module. The definitions (`definitions.py`) do not: they have their
own SQL for the same, so that one can be checked against the other.

    kind              accepted                                        compared
    text              all types that cast to text                     as it is, without the padding of char(n)
    word of a set     all types that cast to text                     without case and surrounding blanks
    id                any type with a text form                       as its own type compares it
    tokens            smallint, integer, bigint, numeric, float       from 0 to LARGEST_TOKENS; others are left out
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from exporter.inputs import BY_NAME

TEXT = "{0}::text"
"""A column of text."""

_BLANKS = r"E' \t\r\n'"

WORD = f'lower(btrim({{0}}::text, {_BLANKS}) COLLATE "C")'
"""A column with a word of a closed set, in lower case and without surrounding blanks. (The collation "C" takes a tenth
of a microsecond per row; the case of a Turkish I does not matter for these words.)"""


def is_word(column: str, word: str) -> str:
    """Return SQL for whether a column has this word of a closed set, for a word that most rows have: these are compared
    as they are, and only the others are folded."""
    return f"({column}::text = '{word}' OR {WORD.format(column)} = '{word}')"


@dataclass(frozen=True, slots=True)
class EnumType:
    """The enum type of a column, or of the enum below its domain."""

    domain_of: str | None
    """The type's name where the column has a domain over it, which PostgreSQL does not compare as an enum."""
    words: Mapping[str, str]
    """The word of each label."""


ENUM_LABELS = f"""
WITH RECURSIVE types(id, in_domain) AS (
  SELECT pg_typeof((SELECT {{0}} FROM {{1}} LIMIT 0))::oid, false
  UNION ALL SELECT pg_type.typbasetype, true FROM types JOIN pg_type ON oid = id WHERE pg_type.typbasetype <> 0
)
SELECT CASE WHEN in_domain THEN enumtypid::regtype::text END, enumlabel::text, {WORD.format("enumlabel")}
FROM pg_enum JOIN types ON id = enumtypid
ORDER BY enumsortorder
"""
"""SQL for the labels of a column's `EnumType`: the type below a domain, a label, its word. No rows for a column of any
other type."""


def enum_type(rows: Sequence[tuple[str | None, str, str]]) -> EnumType | None:
    """Return the result of `ENUM_LABELS` as a type; None for a column of any other type."""
    return EnumType(rows[0][0], {label: word for _, label, word in rows}) if rows else None


def has_word(column: str, allowed: tuple[str, ...], enum: EnumType | None) -> str:
    """Return SQL for whether a column has one of these words of a closed set, in a form that may be an index's
    condition.

    The text of an enum is not immutable for PostgreSQL, so that no index may contain it: an enum is compared with its
    own labels. Unless a domain needs one, they have no cast, so that no right on the schema of the type is needed.
    """
    if enum is None:
        return f"{WORD.format(column)} IN {words(allowed)}"
    labels = tuple(label for label, word in enum.words.items() if word in allowed)
    base = f"{column}::{enum.domain_of}" if enum.domain_of else column
    return f"{base} IN {words(labels)}" if labels else "false"


# nullif gives a domain's value the base type. The type citext, if the extension is installed, is looked up once per
# statement, in any schema of the search path.
_BASE_TYPE = "pg_typeof(nullif({0}, NULL))"
_CITEXT = "ANY(ARRAY(SELECT pg_type.oid FROM pg_type WHERE pg_type.typname = 'citext'))"
IDENTITY = (
    f"CASE WHEN {_BASE_TYPE}::oid = {_CITEXT} THEN lower({{0}}::text)"
    f" WHEN {_BASE_TYPE} = 'numeric'::regtype THEN trim_scale({{0}}::text::numeric)::text ELSE {{0}}::text END"
)
"""An id as text that is the same for ids that are equal in their type: citext without case, numbers without trailing
zeros. PostgreSQL's own text of a uuid, an integer or a char(n) already has this property."""

USER = f"hashtextextended({IDENTITY}, 0)"
"""A user as 64 bits: no identity leaves the database."""

LARGEST_TOKENS = 2**31 - 1
"""The maximum of tokens in one request: the range of `integer`, thousands of times the limit of any model. A month's
sum of such values fits into 64 bits."""

_POSSIBLE = f"{{0}} BETWEEN 0 AND {LARGEST_TOKENS}"

TOKEN_SUM = f"coalesce(sum(CASE WHEN {_POSSIBLE} THEN {{0}} END), 0)::bigint"
"""The sum of a column of token counts, without impossible values. (NaN is greater than any number.)"""

NEGATIVE_TOKENS = "count(*) FILTER (WHERE {0} < 0)"
EXCESSIVE_TOKENS = f"count(*) FILTER (WHERE {{0}} > {LARGEST_TOKENS})"
"""The number of values of such a column that are left out of its sum."""


def optional(column: str, not_provided: Collection[str], alias: str = "") -> str:
    """Return SQL for a column that may be missing (`sessions.kind`): a NULL of its type if it is not provided, so that
    it is not read. `alias`: that of the table."""
    if column in not_provided:
        return f"NULL::{BY_NAME[column].type}"
    return f"{alias}.{column.partition('.')[2]}" if alias else column


def text_array(texts: Iterable[str]) -> str:
    """Return SQL for an array of these texts, none of which may contain a quote."""
    return "ARRAY[" + ", ".join(f"'{text}'" for text in texts) + "]::text[]"


def words(allowed: tuple[str, ...]) -> str:
    """Return SQL for the set of these words, for `WORD IN (...)`. No word may contain a quote."""
    return "(" + ", ".join(f"'{word}'" for word in allowed) + ")"
