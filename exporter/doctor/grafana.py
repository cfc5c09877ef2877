"""Grafana as the Analytics section needs it: below its path, for this process alone, with its datasources and panels.

Requests are those of the section's proxy: the viewer's name, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from admin.grafana.headers import ROLE, VIEWER
from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, word, wrong
from exporter.doctor.installation import Installation
from exporter.sources.web import Answer, NoAnswer, fetch
from exporter.urls import read_web
from presentation.panels import CATALOGUE, EMBEDDED, GRAFANA_PATH, Embedded

DATASOURCES = ("hivesync-prometheus", "hivesync-postgres")
"""Their uids, as provisioned (grafana/queries.py; a test compares the two)."""

AS_VIEWER = {"x-webauth-user": VIEWER, "x-webauth-role": ROLE}

OTHER_ADDRESS = "127.0.0.2"
"""A second address of this machine, for which a Grafana on the loopback interface has no reason to believe a name."""

_PROXY = (
    "[auth.proxy]\nenabled = true\nheader_name = X-WEBAUTH-USER\nheader_property = username\n"
    "headers = Role:X-WEBAUTH-ROLE\nauto_sign_up = true\nwhitelist = {address}"
)


async def _ask(
    installation: Installation,
    path: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    content: bytes = b"",
    from_address: str | None = None,
) -> Answer:
    origin = read_web(installation.settings.grafana_url or "").origin
    url = origin + (path if path.startswith("/") else GRAFANA_PATH + path)
    return await fetch(
        url,
        method=method,
        headers={
            **(AS_VIEWER if headers is None else headers),
            **({"content-type": "application/json"} if content else {}),
        },
        content=content,
        seconds=3,
        from_address=from_address,
    )


def _set(installation: Installation) -> bool:
    return bool(installation.settings.grafana_url)


@check("grafana.reachable", seconds=4, gate=True)
async def reachable(installation: Installation) -> Findings:
    """Grafana answers, under the path of the Analytics section."""
    if not _set(installation):
        return [ok("not set: the page draws its charts itself")]
    try:
        answer = await _ask(installation, "api/health", {})
    except NoAnswer as error:
        mend = "HIVESYNC_GRAFANA_URL=http://grafana:3000  # start Grafana, or correct host and port"
        return [wrong(f"no answer: {error.kind}", mend)]
    if answer.status == 200 and isinstance(answer.json(), dict):
        return [ok(f"answers, version {word(str(answer.json().get('version', 'unknown')))}")]
    mend = f"[server]\nroot_url = https://your-public-host{GRAFANA_PATH}\nserve_from_sub_path = true"
    return [wrong(f"does not answer under {GRAFANA_PATH} (status {answer.status})", mend)]


@check("grafana.anonymous", seconds=4)
async def anonymous(installation: Installation) -> Findings:
    """Grafana lets no request in without a name."""
    if not _set(installation):
        return []
    answer = await _ask(installation, "api/search", {})
    if answer.status == 200:
        return [wrong("anonymous access is on", "[auth.anonymous]\nenabled = false")]
    return [ok("refused")]


@check("grafana.proxy", seconds=6, gate=True)
async def proxy(installation: Installation) -> Findings:
    """Grafana believes the name that this process gives, as a viewer; and no other address' name."""
    if not _set(installation):
        return []
    believed = await _ask(installation, "api/user")
    user = believed.json() if believed.status == 200 else None
    if not isinstance(user, dict):
        mend = _PROXY.format(address="ADDRESS_OF_THIS_MACHINE_AS_GRAFANA_SEES_IT")
        place = read_web(installation.settings.grafana_url or "").place
        if place.host in ("127.0.0.1", "localhost"):
            mend = _PROXY.format(address="127.0.0.1")
        return [wrong(f"Grafana does not believe the viewer's name from here (status {believed.status})", mend)]
    findings: list[Finding] = []
    if user.get("login") != VIEWER or user.get("isGrafanaAdmin"):
        findings.append(
            wrong("the viewer is another user of Grafana, or its administrator", _PROXY.format(address="127.0.0.1"))
        )
    organisations = (await _ask(installation, "api/user/orgs")).json()
    roles = (
        {str(each.get("role")) for each in organisations if isinstance(each, dict)}
        if isinstance(organisations, list)
        else set()
    )
    if roles - {ROLE}:
        mend = "[auth.proxy]\nheaders = Role:X-WEBAUTH-ROLE\n[users]\nauto_assign_org_role = Viewer"
        findings.append(wrong(f"the viewer's role is {listed(map(word, sorted(roles)))}, not {ROLE}", mend))
    findings += await _others(installation)
    return findings or [ok(f"{VIEWER} as {ROLE}")]


async def _others(installation: Installation) -> list[Finding]:
    """Return a finding where Grafana believes another address, which only a Grafana on this machine can show."""
    if read_web(installation.settings.grafana_url or "").place.host != "127.0.0.1":
        return []
    try:
        answer = await _ask(installation, "api/user", from_address=OTHER_ADDRESS)
    except NoAnswer:
        return []
    if answer.status == 200:
        mend = "[auth.proxy]\nwhitelist = 127.0.0.1"
        return [wrong(f"Grafana believes a name from any address ({OTHER_ADDRESS} was tried)", mend)]
    return []


@check("grafana.embedding", seconds=4)
async def embedding(installation: Installation) -> Findings:
    """Panels may stand in frames of the page."""
    if not _set(installation):
        return []
    answer = await _ask(installation, f"d-solo/{EMBEDDED.uid}/panel?orgId=1&panelId={Embedded.AI_REQUESTS.id}")
    if "x-frame-options" in answer.headers:
        return [wrong("Grafana forbids frames (X-Frame-Options)", "[security]\nallow_embedding = true")]
    if answer.status != 200:
        return [wrong(f"the page of a panel is not answered (status {answer.status})", "see grafana.dashboards")]
    return [ok("allowed")]


@check("grafana.datasources", seconds=6)
async def datasources(installation: Installation) -> Findings:
    """Both datasources are provisioned, and healthy."""
    if not _set(installation):
        return []
    findings: list[Finding] = []
    for uid in DATASOURCES:
        answer = await _ask(installation, f"api/datasources/uid/{uid}/health")
        content = answer.json()
        if answer.status == 404:
            mend = (
                "cp -r grafana/provisioning/datasources /etc/grafana/provisioning/ && systemctl restart grafana-server"
            )
            findings.append(wrong(f"{uid} is not provisioned", mend))
        elif answer.status == 403:
            findings.append(ok(f"{uid}: the viewer may not ask for its health"))
        elif answer.status != 200 or not isinstance(content, dict) or content.get("status") not in ("OK", "ok"):
            variable = "GF_HIVESYNC_PROMETHEUS_URL" if uid == DATASOURCES[0] else "GF_HIVESYNC_DB_ADDRESS"
            mend = f"{variable}=...  # in grafana.env: its address as Grafana reaches it, and its user and password"
            findings.append(wrong(f"{uid} is not healthy (status {answer.status})", mend))
    return findings or [ok(listed(DATASOURCES))]


@check("grafana.dashboards", seconds=6)
async def dashboards(installation: Installation) -> Findings:
    """The dashboards are there, with the ids of panels that the page embeds."""
    if not _set(installation):
        return []
    findings: list[Finding] = []
    copy = "python -m grafana && cp grafana/generated/*.json /etc/grafana/dashboards/"
    for panels in CATALOGUE:
        dashboard = next(iter(panels)).dashboard
        answer = await _ask(installation, f"api/dashboards/uid/{dashboard.uid}")
        if answer.status != 200:
            findings.append(wrong(f"there is no dashboard {dashboard.uid} (status {answer.status})", copy))
            continue
        content = answer.json()
        ids = set(_ids((content or {}).get("dashboard", {})))
        missing = [panel for panel in panels if panel.id not in ids]
        if missing:
            names = listed((f"{panel.id} ({panel.title or panel.name})" for panel in missing), 5)
            findings.append(wrong(f"{dashboard.uid} lacks the panels {names}: of another version", copy))
    return findings or [ok(listed(next(iter(panels)).dashboard.uid for panels in CATALOGUE))]


def _ids(dashboard: Mapping[str, Any]) -> list[int]:
    """Return the ids of all panels; those of a folded row are inside it."""
    found = []
    for panel in dashboard.get("panels", ()):
        found += [panel.get("id"), *_ids(panel)]
    return found


@check("grafana.panel", seconds=5)
async def panel(installation: Installation) -> Findings:
    """One panel's query is really answered, with a value."""
    if not _set(installation):
        return []
    query = {
        "queries": [
            {
                "refId": "A",
                "datasource": {"uid": DATASOURCES[0], "type": "prometheus"},
                "expr": "hivesync_exporter_build_info",
                "instant": True,
                "range": False,
                "intervalMs": 15_000,
                "maxDataPoints": 100,
            }
        ],
        "from": "now-15m",
        "to": "now",
    }
    answer = await _ask(installation, "api/ds/query", method="POST", content=json.dumps(query).encode())
    content = answer.json()
    try:
        result = content["results"]["A"]
        values = [value for frame in result.get("frames", ()) for value in frame["data"]["values"] if value]
    except (KeyError, TypeError):
        return [wrong(f"a panel's query is not answered (status {answer.status})", "see grafana.datasources")]
    if result.get("error") or answer.status != 200:
        return [wrong(f"a panel's query fails (status {answer.status})", "see grafana.datasources")]
    if not values:
        return [look("a panel's query has no value: Prometheus has none of this exporter", "see prometheus.scrapes")]
    return [ok("answered with a value")]


CHECKS = (reachable, anonymous, proxy, embedding, datasources, dashboards, panel)
