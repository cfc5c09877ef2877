"""Made-up rows on their way into PostgreSQL: columns of text for COPY, a whole table at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

NULL = r"\N"

Texts = NDArray[np.str_]
Column = Texts | Sequence[str]
Microseconds = NDArray[np.int64]  # since the epoch


@dataclass(frozen=True, slots=True)
class Table:
    """All rows of a table: for each column the text forms of its values, NULL for a null."""

    name: str
    columns: Mapping[str, Column]

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the values row by row."""
        return zip(*(np.asarray(column).tolist() for column in self.columns.values()), strict=True)


def new_ids(rng: np.random.Generator, count: int) -> Texts:
    """Return random UUIDs (version 4)."""
    octets = rng.integers(0, 256, (count, 16), dtype=np.uint8)
    octets[:, 6] = octets[:, 6] & 0x0F | 0x40
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    digits = octets.tobytes().hex()
    return np.array([digits[at : at + 32] for at in range(0, len(digits), 32)], dtype="U32")


def as_text(times: Microseconds) -> Texts:
    """Return the times in PostgreSQL's text form, in UTC."""
    return np.datetime_as_string(times.astype("datetime64[us]"), timezone="UTC")


def insert(connection: psycopg.Connection, tables: Iterable[Table]) -> int:
    """COPY the tables into the database, in one transaction; return the number of rows."""
    count = 0
    with connection.transaction(), connection.cursor() as cursor:
        # References hold by construction (a test checks it); checking each takes longer than all the rest.
        cursor.execute("SET LOCAL session_replication_role = replica")
        for table in tables:
            names = sql.SQL(", ").join(map(sql.Identifier, table.columns))
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names)
            with cursor.copy(statement) as copy:
                copy.write("\n".join(map("\t".join, table.rows())))
            count += cursor.rowcount
    connection.execute("ANALYZE")
    return count
