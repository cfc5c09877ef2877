"""The routes of the API: documents of the snapshot as JSON, charts and tables as CSV too.

    documents/ -> DocumentCache -> routes (this) -> app.py

A document is rendered for the first request after a change of the snapshot and kept until the next change: the same
bytes with the same ETag for every client. Authentication is the middleware's task, not the routes'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from admin.documents import DOCUMENTS, attention, csv_files, status, summary
from admin.documents.cards import TableCard
from admin.documents.charts import CHARTS, Chart, ChartCard
from admin.documents.models import Problem
from admin.documents.tables import TABLES, TableDocument
from admin.documents.trends import Trends
from admin.documents.values import Values
from admin.problem import VARY

JSON_TYPE = "application/json"
CSV_TYPE = "text/csv; charset=utf-8"

CACHING = {"Cache-Control": "no-store", "Vary": VARY}
"""No cache keeps a document, as it would outlive a logout. Clients that keep it themselves, as the page's modules do in
memory, may revalidate it by its ETag."""

PROBLEMS: Mapping[int | str, dict[str, Any]] = {
    code: {"model": Problem, "content": {"application/problem+json": {}}, "description": description}
    for code, description in (
        (401, "No credentials, or invalid ones."),
        (403, "Valid credentials without the admin scope."),
        (422, "An invalid parameter."),
        (429, "Too many invalid credentials from this address."),
    )
}

CSV_RESPONSE: Mapping[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}

Form = Annotated[Literal["json", "csv"], Query(alias="format")]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A document in bytes, and its ETag."""

    body: bytes
    etag: str

    @classmethod
    def of(cls, body: bytes) -> Rendered:
        """The ETag is a hash of the bytes."""
        return cls(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


class DocumentCache:
    """The rendered documents of the snapshot's current view."""

    def __init__(
        self,
        read: Callable[[], Values],
        grafana: Callable[[], status.GrafanaState],
        clock: Callable[[], float],
        prometheus: Callable[[], attention.PrometheusView] = lambda: attention.NOT_CONFIGURED,
    ) -> None:
        """`grafana`, `prometheus`: their states, which are not part of the snapshot; `clock`: Unix seconds."""
        self._read = read
        self.grafana = grafana
        self.prometheus = prometheus
        self._clock = clock
        self.trends = Trends()
        self._values: Values | None = None
        self._rendered: dict[object, Rendered] = {}

    def changed(self) -> None:
        """Drop all documents: the snapshot has changed. Note the numbers of the summary, once a minute."""
        self._values = None
        self._rendered.clear()
        now = self._clock()
        if self.trends.wants(now) and self.values.view.ready:
            self.trends.note(now, summary.numbers(self.values))

    @property
    def values(self) -> Values:
        """The values of the snapshot's current view."""
        if self._values is None:
            self._values = self._read()
        return self._values

    def rendered(self, key: object, render: Callable[[], bytes]) -> Rendered:
        """The document of that key, rendered if it is not there."""
        if key not in self._rendered:
            self._rendered[key] = Rendered.of(render())
        return self._rendered[key]


def build_router(cache: DocumentCache) -> APIRouter:
    """The routes, relative to the path at which they are mounted."""
    router = APIRouter(responses=dict(PROBLEMS))

    def add(
        path: str,
        title: str,
        model: type[BaseModel],
        build: Callable[[], BaseModel],
        varies: Callable[[], object] = lambda: None,
    ) -> None:
        """`varies`: what the document depends on besides the snapshot."""

        async def endpoint(request: Request) -> Response:
            return _response(request, cache.rendered((path, varies()), lambda: _json(build())), JSON_TYPE)

        router.add_api_route(f"/{path}", endpoint, response_model=model, name=path, summary=title)

    add(summary.PATH, summary.TITLE, summary.Summary, lambda: summary.build(cache.values, cache.trends))
    for document in DOCUMENTS:
        add(document.path, document.title, document.model, lambda build=document.build: build(cache.values))  # type: ignore[misc]
    add(status.PATH, status.TITLE, status.State, lambda: status.build(cache.values, cache.grafana()), cache.grafana)
    add(
        attention.PATH,
        attention.TITLE,
        attention.Attention,
        lambda: attention.build(cache.values, cache.prometheus()),
        cache.prometheus,
    )
    for chart in CHARTS:
        _add_chart(router, cache, chart)
    for table in TABLES:
        _add_table(router, cache, table)
    return router


def _add_chart(router: APIRouter, cache: DocumentCache, card: ChartCard) -> None:
    def respond(request: Request, span: str, form: str) -> Response:
        file = "-".join(filter(None, (card.id, span)))
        return _response_as(
            form,
            request,
            cache,
            (card.document, span),
            lambda: card.build(cache.values, span),
            csv_files.of_chart,
            file,
        )

    async def with_range(request: Request, span: str = card.range, form: Form = "json") -> Response:
        return respond(request, span, form)

    async def without_range(request: Request, form: Form = "json") -> Response:
        return respond(request, "", form)

    with_range.__annotations__["span"] = Annotated[Literal.__getitem__(card.ranges), Query(alias="range")]
    _add_csv_route(router, card, Chart, with_range if card.ranges else without_range)


def _add_table(router: APIRouter, cache: DocumentCache, table: TableDocument) -> None:
    card = table.card

    async def endpoint(request: Request, form: Form = "json") -> Response:
        return _response_as(
            form, request, cache, card.document, lambda: table.build(cache.values), csv_files.of_table, card.id
        )

    _add_csv_route(router, card, table.model, endpoint)


def _add_csv_route(
    router: APIRouter, card: ChartCard | TableCard, model: type[BaseModel], endpoint: Callable[..., Any]
) -> None:
    router.add_api_route(
        f"/{card.document}",
        endpoint,
        response_model=model,
        responses=dict(CSV_RESPONSE),
        name=card.id.replace("-", "_"),
        summary=card.title,
        description=card.meaning.counts,
    )


def _response_as(
    form: str,
    request: Request,
    cache: DocumentCache,
    key: object,
    build: Callable[[], Any],
    to_csv: Callable[[Any], bytes],
    file: str,
) -> Response:
    """The document as JSON or CSV; `file`: the name of the CSV file without prefix and extension."""
    if form == "csv":
        return _response(request, cache.rendered((key, form), lambda: to_csv(build())), CSV_TYPE, file)
    return _response(request, cache.rendered((key, form), lambda: _json(build())), JSON_TYPE)


def _json(model: BaseModel) -> bytes:
    return model.model_dump_json(by_alias=True).encode()


def _response(request: Request, rendered: Rendered, media_type: str, file: str | None = None) -> Response:
    """The document, or 304 if the client has it (RFC 9110 §13.1.2)."""
    headers = {"ETag": rendered.etag, **CACHING}
    if _matches(request.headers.get("if-none-match", ""), rendered.etag):
        return Response(status_code=304, headers=headers)
    if file:
        headers["Content-Disposition"] = f'attachment; filename="hivesync-{file}.csv"'
    return Response(rendered.body, headers=headers, media_type=media_type)


def _matches(if_none_match: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags
