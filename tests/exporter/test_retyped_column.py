"""The real exporter while a column has another type for a moment: rows are then others, and are all read at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from tests.rows import NOWHERE, insert, users
from tests.running import RunningExporter

REQUESTS = 'hivesync_ai_requests_in_window{window="24h"}'
RETYPE = "ALTER TABLE ai_usage_events ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN created_at TYPE"


def test_a_column_that_had_another_type_is_read_again_at_once(
    database: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    (who,) = users(connection, 1)
    for hours in (2, 3):
        at = datetime.now(UTC) - timedelta(hours=hours)
        insert(connection, "ai_usage_events", user_id=who, status="queued", created_at=at)
    with RunningExporter(tmp_path, database_url=database, redis_url=NOWHERE) as exporter:
        exporter.wait_for(lambda samples: samples.get(REQUESTS) == 2)
        connection.execute(f"{RETYPE} bigint USING extract(epoch FROM created_at)".encode())
        exporter.wait_for(lambda samples: REQUESTS not in samples)
        shifted = f"{RETYPE} timestamptz USING to_timestamp(created_at) - interval '21 hours 30 minutes'"
        connection.execute(shifted.encode())
        exporter.wait_for(lambda samples: samples.get(REQUESTS) == 1)
