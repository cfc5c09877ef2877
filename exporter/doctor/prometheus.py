"""Prometheus: reachable, scrapes this exporter under the job's name, with the shipped rules loaded and healthy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from exporter.addresses import reachable as reachable_address
from exporter.doctor.findings import Finding, Findings, check, listed, look, ok, word, wrong
from exporter.doctor.installation import Installation
from exporter.doctor.remedies import remedy
from exporter.errors import CollectionFailed, SourceUnavailable
from exporter.sources.prometheus import Prometheus
from exporter.web_config.port import PortConfig

JOB = "hivesync"
"""The job's name in the scrape configuration, by which the alerts select."""

ANSWER_SECONDS = 2.0
"""Time limit of an answer."""

RULES = Path(__file__).parents[2] / "prometheus" / "rules"
"""The shipped rules, in a checkout of the repository."""

_NAME = re.compile(r"^\s*- (?:alert|record): (\S+)", re.MULTILINE)


async def _ask(installation: Installation, path: str) -> Any:
    """Return the data of an answer of the API, asked as the roll-up asks it."""
    prometheus = Prometheus(installation.settings.prometheus_url or "", ANSWER_SECONDS)
    try:
        return await prometheus.get(path)
    finally:
        await prometheus.close()


@check("prometheus.reachable", seconds=4, gate=True)
async def reachable(installation: Installation) -> Findings:
    """Prometheus answers on its API."""
    if not installation.settings.prometheus_url:
        return [ok("not set: no maximum of queue depths in the daily roll-up")]
    try:
        data = await _ask(installation, "query?query=1")
    except (SourceUnavailable, CollectionFailed) as error:
        is_other = error.kind == "not_prometheus" or error.kind.startswith("http_")
        mend = "HIVESYNC_PROMETHEUS_URL=http://prometheus:9090" if is_other else remedy("prometheus", error.kind)
        return [wrong(f"no API of Prometheus answers: {error.kind}", mend)]
    return [ok(f"answers ({word(str(data.get('resultType')))})")]


def _scrape_config(port: PortConfig | None, address: str) -> str:
    """Return the scrape configuration for a port with this web configuration (docs/web-configuration.md)."""
    lines = ["scrape_configs:", f"  - job_name: {JOB}"]
    if port is not None and port.scheme == "https":
        lines += ["    scheme: https", "    tls_config:", "      ca_file: ca.crt  # of the port's certificate"]
        if port.needs_certificate:
            lines += ["      cert_file: prometheus.crt", "      key_file: prometheus.key"]
    if port is not None and port.has_passwords:
        lines += [
            "    basic_auth:",
            "      username: prometheus  # of basic_auth_users",
            "      password_file: password",
        ]
    return "\n".join([*lines, "    static_configs:", f'      - targets: ["{address}"]'])


@check("prometheus.scrapes")
async def scrapes(installation: Installation) -> Findings:
    """Prometheus scrapes this exporter, successfully, as the job by which alerts select."""
    if not installation.settings.prometheus_url:
        return []
    targets = (await _ask(installation, "targets?state=active"))["activeTargets"]
    port = installation.settings.metrics_listen.port
    address = reachable_address(installation.settings.metrics_listen)
    config = _scrape_config(installation.ports.get("metrics"), address)
    ours = [each for each in targets if each.get("labels", {}).get("job") == JOB]
    here = [each for each in targets if re.search(rf":{port}/metrics", str(each.get("scrapeUrl")))]
    if not ours and here:
        job = word(str(here[0].get("labels", {}).get("job")))
        return [wrong(f"the job is named {job}, and the alerts select {JOB}", config)]
    if not ours:
        return [wrong(f"no target of the job {JOB}", config)]
    findings: list[Finding] = []
    down = [each for each in ours if each.get("health") == "down"]
    scheme = installation.scheme("metrics")
    other = [each for each in ours if each in here and not str(each.get("scrapeUrl")).startswith(f"{scheme}://")]
    if other:
        where = listed(word(str(each.get("scrapeUrl"))) for each in other)
        findings.append(wrong(f"scraped by another scheme than {scheme}, which the port speaks: {where}", config))
    down = [each for each in down if each not in other]
    if down:
        where = listed(word(str(each.get("scrapeUrl"))) for each in down)
        asking = (
            f"curl {word(str(down[0].get('scrapeUrl')))}  # from Prometheus' machine; see its /targets for the error"
        )
        mend = f"{config}\n({asking})" if installation.metrics_are_guarded else asking
        findings.append(wrong(f"cannot be scraped: {where}", mend))
    if not any(each in ours for each in here):
        names = listed(word(str(each.get("labels", {}).get("instance"))) for each in ours)
        findings.append(
            look(f"the job's targets are {names}: none on port {port}, where this exporter listens", config)
        )
    return findings or [ok(f"{len(ours)} targets of the job {JOB}, all up")]


def _shipped() -> set[str]:
    return {name for file in sorted(RULES.glob("*.yml")) for name in _NAME.findall(file.read_text(encoding="utf-8"))}


@check("prometheus.rules")
async def rules(installation: Installation) -> Findings:
    """Every shipped rule is loaded, and evaluated without an error."""
    if not installation.settings.prometheus_url:
        return []
    groups = (await _ask(installation, "rules"))["groups"]
    loaded = [cast("dict[str, Any]", rule) for group in groups for rule in group.get("rules", ())]
    missing = sorted(_shipped() - {str(rule.get("name")) for rule in loaded})
    if not loaded or len(missing) > len(_shipped()) / 2:
        mend = "rule_files:\n  - rules/thresholds.yml\n  - rules/recording.yml\n  - rules/alerts.yml"
        return [wrong("the shipped rules are not loaded: no alert can fire", mend)]
    findings: list[Finding] = []
    if missing:
        mend = "cp prometheus/rules/*.yml /etc/prometheus/rules/ && curl -X POST http://prometheus:9090/-/reload"
        findings.append(look(f"not loaded: {listed(map(word, missing), 8)}", mend))
    failing = [str(rule.get("name")) for rule in loaded if rule.get("health") == "err"]
    if failing:
        mend = "promtool check rules prometheus/rules/*.yml  # and see Prometheus' /rules for the error"
        findings.append(wrong(f"fail: {listed(map(word, failing), 8)}", mend))
    return findings or [ok(f"{len(loaded)} rules")]


@check("prometheus.alertmanager")
async def alertmanager(installation: Installation) -> Findings:
    """Prometheus has an Alertmanager, which sends its alerts."""
    if not installation.settings.prometheus_url:
        return []
    found = (await _ask(installation, "alertmanagers"))["activeAlertmanagers"]
    if not found:
        mend = 'alerting:\n  alertmanagers:\n    - static_configs:\n        - targets: ["alertmanager:9093"]'
        return [look("no Alertmanager: no alert is sent", mend)]
    return [ok(f"{len(found)} Alertmanagers")]


CHECKS = (reachable, scrapes, rules, alertmanager)
