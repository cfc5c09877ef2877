"""Facts that the doctor takes from the modules that decide them, and lists of its own that agree."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from exporter.doctor import start
from exporter.doctor.redis import HARMLESS
from exporter.doctor.run import CheckGroup
from exporter.doctor.subjects import SUBJECTS
from exporter.identities import IdType
from exporter.sources.redis_commands import Command
from tests.exporter.doctor.faults import LOOK
from tests.exporter.doctor.house import House


def test_a_type_of_ids_is_known_where_lookups_by_id_know_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IdType, "known", property(lambda of: of.name != "uuid"))
    assert ("columns.types", LOOK) in {(each.check, each.verdict) for each in house.new_findings("postgres")}


def test_every_command_of_redis_is_tried_but_the_name_that_each_connection_sets() -> None:
    assert {*HARMLESS, Command.SET_NAME} == set(Command)


def test_the_checks_at_the_start_are_the_cheap_ones_of_the_doctor() -> None:
    def cheap(subjects: Sequence[CheckGroup]) -> list[tuple[str, str, str]]:
        return [(of.name, of.source, each.name) for of in subjects for each in of.checks if each.cheap]

    assert cheap(start.SUBJECTS) == cheap(SUBJECTS) != []
