"""The API's routes: JSON of the snapshot as it stands, and CSV of its tables and charts (contract §3).

An answer is made when it is first asked for after a change of the snapshot, and kept: the same bytes with the same
ETag for everybody, until something changes. Who may ask is the door's concern, not this module's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from admin import answers
from admin.documents import csv_files, models, tables
from admin.documents.charts import CHARTS
from admin.documents.trends import Trends
from admin.documents.values import Reading
from admin.problem import VARY

JSON_TYPE = "application/json"
CSV_TYPE = "text/csv; charset=utf-8"

CACHING = {"Cache-Control": "private, no-cache", "Vary": VARY}
"""A browser may keep an answer, and asks each time whether it is still the same."""

PROBLEMS: Mapping[int | str, dict[str, Any]] = {
    status: {"model": models.Problem, "content": {"application/problem+json": {}}, "description": description}
    for status, description in (
        (401, "No credentials, or bad ones."),
        (403, "Valid credentials that are not an admin's."),
        (422, "A parameter that cannot be."),
        (429, "Too many bad credentials from this address."),
    )
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes that are ready, and their ETag."""

    body: bytes
    etag: str

    @classmethod
    def of(cls, body: bytes) -> Answer:
        """The tag follows from the bytes alone."""
        return cls(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


class Answers:
    """Everything the API can say now; `changed` has it said anew."""

    def __init__(
        self,
        read: Callable[[], Reading],
        grafana: Callable[[], models.GrafanaState],
        clock: Callable[[], float],
    ) -> None:
        """`grafana`: whether it is configured and answers, which is not of the snapshot. `clock`: unix seconds."""
        self._read = read
        self.grafana = grafana
        self._clock = clock
        self._trends = Trends()
        self._reading: Reading | None = None
        self._made: dict[object, Answer] = {}

    def changed(self) -> None:
        """The snapshot has something new. Once a minute the header's values are noted for their trends."""
        self._reading = None
        self._made.clear()
        now = self._clock()
        if self._trends.wants(now) and self.reading.view.ready:
            self._trends.note(now, answers.header(self.reading))

    @property
    def reading(self) -> Reading:
        """The snapshot as it stands."""
        if self._reading is None:
            self._reading = self._read()
        return self._reading

    def summary(self) -> models.Summary:
        """The header's cards and their trends."""
        return answers.summary(self.reading, self._trends.shown(answers.TRENDS))

    def state(self) -> models.State:
        """Every source, and Grafana."""
        return answers.state(self.reading, self.grafana())

    def made(self, key: object, make: Callable[[], bytes]) -> Answer:
        """The answer of that key, made if it is not there."""
        if key not in self._made:
            self._made[key] = Answer.of(make())
        return self._made[key]


def build_router(kept: Answers) -> APIRouter:
    """The routes, relative to wherever they are mounted."""
    router = APIRouter(responses=dict(PROBLEMS))

    def add(path: str, model: type[BaseModel], make: Callable[[], BaseModel], varies: Callable[[], object]) -> None:
        async def endpoint(request: Request) -> Response:
            return _sent(request, kept.made((path, varies()), lambda: _json(make())), JSON_TYPE)

        router.add_api_route(path, endpoint, response_model=model, name=path.strip("/"), summary=model.__doc__)

    def of_reading(make: Callable[[Reading], BaseModel]) -> Callable[[], BaseModel]:
        return lambda: make(kept.reading)

    add("/summary", models.Summary, kept.summary, nothing)
    add("/users", models.Users, of_reading(answers.users_and_sessions), nothing)
    add("/ai", models.Ai, of_reading(answers.ai_usage), nothing)
    add("/queues", models.Queues, of_reading(answers.queues_and_jobs), nothing)
    add("/workers", models.Workers, of_reading(answers.all_workers), nothing)
    add("/monetization", models.Monetization, of_reading(answers.monetization), nothing)
    add("/status", models.State, kept.state, kept.grafana)
    _add_charts(router, kept)
    _add_tables(router, kept)
    return router


def nothing() -> None:
    """What an answer varies with that is made of the snapshot alone."""


HoursRange = Annotated[Literal["6h", "24h", "7d"], Query(alias="range")]
DaysRange = Annotated[Literal["14d", "30d", "90d"], Query(alias="range")]
Form = Annotated[Literal["json", "csv"], Query(alias="format")]

_CSV_TOO: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


def _add_charts(router: APIRouter, kept: Answers) -> None:
    def sent(request: Request, name: str, span: str, form: str) -> Response:
        def chart() -> models.Chart:
            return CHARTS[name](kept.reading, span)

        if form == "csv":
            answer = kept.made((name, span, form), lambda: csv_files.of_chart(chart()))
            return _sent(request, answer, CSV_TYPE, "-".join(filter(None, (name, span))))
        return _sent(request, kept.made((name, span, form), lambda: _json(chart())), JSON_TYPE)

    @router.get("/charts/ai-requests", response_model=models.Chart, responses=_CSV_TOO)
    async def ai_requests(request: Request, span: HoursRange = "24h", form: Form = "json") -> Response:
        """AI requests per hour."""
        return sent(request, "ai-requests", span, form)

    @router.get("/charts/dau", response_model=models.Chart, responses=_CSV_TOO)
    async def dau(request: Request, span: DaysRange = "14d", form: Form = "json") -> Response:
        """Daily active users, a UTC day a point."""
        return sent(request, "dau", span, form)

    @router.get("/charts/plans", response_model=models.Chart, responses=_CSV_TOO)
    async def plans(request: Request, form: Form = "json") -> Response:
        """Users by plan."""
        return sent(request, "plans", "", form)

    @router.get("/charts/ai-latency", response_model=models.Chart, responses=_CSV_TOO)
    async def ai_latency(request: Request, span: HoursRange = "24h", form: Form = "json") -> Response:
        """Average AI latency, an hour a point."""
        return sent(request, "ai-latency", span, form)


def _add_tables(router: APIRouter, kept: Answers) -> None:
    def sent(
        request: Request, name: str, form: str, make: Callable[[Reading], models.TopUsers | models.Incidents]
    ) -> Response:
        if form == "csv":
            return _sent(
                request, kept.made((name, form), lambda: csv_files.of_table(make(kept.reading))), CSV_TYPE, name
            )
        return _sent(request, kept.made((name, form), lambda: _json(make(kept.reading))), JSON_TYPE)

    @router.get("/tables/top-users", response_model=models.TopUsers, responses=_CSV_TOO)
    async def top_users(request: Request, form: Form = "json") -> Response:
        """The 20 users with the most AI requests in 7 days."""
        return sent(request, "top-users", form, tables.top_users)

    @router.get("/tables/incidents", response_model=models.Incidents, responses=_CSV_TOO)
    async def incidents(request: Request, form: Form = "json") -> Response:
        """The latest AI errors and preview failures of 7 days."""
        return sent(request, "incidents", form, tables.incidents)


def _json(model: BaseModel) -> bytes:
    return model.model_dump_json(by_alias=True).encode()


def _sent(request: Request, answer: Answer, media_type: str, file: str | None = None) -> Response:
    """The answer, or that it is still the same (RFC 9110 §13.1.2)."""
    headers = {"ETag": answer.etag, **CACHING}
    if _matches(request.headers.get("if-none-match", ""), answer.etag):
        return Response(status_code=304, headers=headers)
    if file:
        headers["Content-Disposition"] = f'attachment; filename="hivesync-{file}.csv"'
    return Response(answer.body, headers=headers, media_type=media_type)


def _matches(if_none_match: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags
