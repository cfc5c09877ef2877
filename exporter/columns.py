"""SQL that reads a column of HiveSync's whatever its type: what a column may be is decided here, not in each query.

ORMs make enums, domains, `varchar`, `char(n)` or `citext` of what the documentation calls text, and uuid, integers or
text of ids. Each template takes a column (`sessions.device_type`) and gives an expression of one known type, the same
for all of these. The collectors and the roll-up stand behind this. The definitions (`definitions.py`) do not: they say
the same in words of their own, so that one can be checked against the other.

    what              accepted                                        compared
    text              what casts to text                              as it is, without the padding of char(n)
    word of a set     what casts to text                              without case and surrounding blanks
    id                any type with a text form                       as its own type compares it
    tokens            smallint, integer, bigint, numeric, float       from 0 to LARGEST_TOKENS; others are left out
"""

from __future__ import annotations

TEXT = "{0}::text"
"""A column of text."""

_BLANKS = r"E' \t\r\n'"

WORD = f'lower(btrim({{0}}::text, {_BLANKS}) COLLATE "C")'
"""A column with a word of a closed set, in lower case and without surrounding blanks. (In the collation "C" that takes
a tenth of a microsecond a row, and a Turkish I is nobody's concern.)"""

# nullif gives a domain's value the type beneath it. Which type citext is, if there is that extension, is looked up once
# a statement, wherever on the search path it is.
_BASE_TYPE = "pg_typeof(nullif({0}, NULL))"
_CITEXT = "ANY(ARRAY(SELECT pg_type.oid FROM pg_type WHERE pg_type.typname = 'citext'))"
IDENTITY = (
    f"CASE WHEN {_BASE_TYPE}::oid = {_CITEXT} THEN lower({{0}}::text)"
    f" WHEN {_BASE_TYPE} = 'numeric'::regtype THEN trim_scale({{0}}::text::numeric)::text ELSE {{0}}::text END"
)
"""An id as text that is the same for ids that are equal in their type: citext's without case, numbers without trailing
zeros. PostgreSQL's own text of a uuid, an integer or a char(n) is that already."""

USER = f"hashtextextended({IDENTITY}, 0)"
"""A user as 64 bits: no identity leaves the database."""

LARGEST_TOKENS = 2**31 - 1
"""The most tokens that one request may have: what an `integer` holds, thousands of times what any model takes. A
month's sum of such values is within 64 bits."""

_POSSIBLE = f"{{0}} BETWEEN 0 AND {LARGEST_TOKENS}"

TOKEN_SUM = f"coalesce(sum(CASE WHEN {_POSSIBLE} THEN {{0}} END), 0)::bigint"
"""The sum of a column of token counts, as far as they can be true. (NaN is greater than any number.)"""

NEGATIVE_TOKENS = "count(*) FILTER (WHERE {0} < 0)"
EXCESSIVE_TOKENS = f"count(*) FILTER (WHERE {{0}} > {LARGEST_TOKENS})"
"""How many values of such a column are left out of its sum."""


def words(allowed: tuple[str, ...]) -> str:
    """SQL for the set of these words, of which none may have a quote: for `WORD IN (...)`."""
    return "(" + ", ".join(f"'{word}'" for word in allowed) + ")"
