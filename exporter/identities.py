"""Ids from Redis in the form in which PostgreSQL writes those of a column: ids that are equal in the column's type
become the same text (docs/definitions.md#types-and-words).

An iPad sends its UUIDs in upper case, another client with braces or without hyphens, and a number may have a sign or
leading zeros. PostgreSQL takes all these forms for the same id, so they are made equal here before they are compared. A
text that is no id of that type stays unchanged: it belongs to no row, and remains distinct.

    collectors/online.py (the columns' types) -> IdType -> presence.py (ids as bytes), lookups by id
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

Ids = Sequence[bytes]

TYPE_OF = "pg_typeof(nullif((SELECT {0} FROM {1} LIMIT 0), NULL))::text"
"""SQL for the name of a column's type, for tables and views; for a domain the base type, by way of nullif."""

_UUID = re.compile(rb"(\{)?[0-9a-f]{4}(?:-?[0-9a-f]{4}){7}(?(1)\})", re.IGNORECASE)
_UUID_SHAPE = b"00000000-0000-0000-0000-000000000000"
_DIGITS_TO_0 = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_INTEGER = re.compile(rb"[ \t\n\r\f\v]*[+-]?[0-9]+[ \t\n\r\f\v]*")
_WRITTEN_INTEGERS = re.compile(rb"(?:(?:0|-?[1-9][0-9]{0,18})\0)*")
_NUMBER = re.compile(rb"[ \t\n\r\f\v]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?[ \t\n\r\f\v]*")


@dataclass(frozen=True, slots=True)
class IdType:
    """The type of an id column."""

    name: str
    """The name as PostgreSQL shows it: `uuid`, `bigint`, `character varying`, ..."""

    def written(self, ids: Ids) -> Ids:
        """Return the ids in PostgreSQL's own notation; texts that are no id of this type unchanged."""
        are_written, write = _WRITTEN.get(self._base, (None, None))
        if write is None or are_written is None or are_written([text for text in ids if text]):
            return ids
        return [write(text) or text for text in ids]

    def possible(self, ids: Ids) -> Ids:
        """Return those of the ids, in PostgreSQL's own notation, that PostgreSQL can read as this type."""
        if self._base in _BITS:
            limit = 1 << (_BITS[self._base] - 1)
            return [text for text in ids if _INTEGER.fullmatch(text) and -limit <= int(text) < limit]
        if self._base in _WRITTEN and self._base != "citext":
            write = _WRITTEN[self._base][1]
            return [text for text in ids if write(text) is not None]
        return ids

    @property
    def known(self) -> bool:
        """Whether `possible` is certain. For any other type, an id that PostgreSQL cannot read ends the statement."""
        return self._base in _WRITTEN or self._base in _TEXTS

    @property
    def _base(self) -> str:
        return self.name.rpartition(".")[2]  # the schema of a type is shown where it is not on the search_path


def _uuids_are_written(ids: Ids) -> bool:
    # The usual case, detected at a tenth of the cost.
    return b"\0".join(ids).translate(_DIGITS_TO_0) == b"\0".join([_UUID_SHAPE] * len(ids))


def _write_uuid(text: bytes) -> bytes | None:
    if not _UUID.fullmatch(text):
        return None
    digits = text.strip(b"{}").replace(b"-", b"").lower()
    return b"-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _integers_are_written(ids: Ids) -> bool:
    return _WRITTEN_INTEGERS.fullmatch(b"".join(text + b"\0" for text in ids)) is not None


def _write_integer(text: bytes) -> bytes | None:
    return b"%d" % int(text) if len(text) < 100 and _INTEGER.fullmatch(text) else None


def _write_number(text: bytes) -> bytes | None:
    if len(text) >= 100 or not _NUMBER.fullmatch(text):
        return None
    number = f"{Decimal(text.decode().strip()):f}"
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return ("0" if number == "-0" else number).encode()


def _write_citext(text: bytes) -> bytes:
    return text.decode().lower().encode()


def _write_padded(text: bytes) -> bytes:
    return text.rstrip(b" ")


def _never(ids: Ids) -> bool:
    del ids
    return False


_BITS = {"bigint": 64, "integer": 32, "smallint": 16}
_TEXTS = {"text", "character varying", "character", "citext"}
_WRITTEN: dict[str, tuple[Callable[[Ids], bool], Callable[[bytes], bytes | None]]] = {
    "uuid": (_uuids_are_written, _write_uuid),
    **dict.fromkeys(_BITS, (_integers_are_written, _write_integer)),
    "numeric": (_never, _write_number),
    "citext": (_never, _write_citext),
    "character": (_never, _write_padded),
}
"""By type: whether all these ids are in PostgreSQL's notation already, and the conversion of one id (None for a text
that is no such id)."""
