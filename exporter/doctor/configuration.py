"""The settings themselves: known, possible together, with likely units, and with secrets that others cannot read."""

from __future__ import annotations

import difflib
import os
import shlex
import stat
from pathlib import Path

from dotenv import dotenv_values

from exporter.doctor.findings import Finding, Findings, check, look, ok, wrong
from exporter.doctor.installation import Installation, setting
from exporter.settings import PREFIX, SECRETS, Settings, unknown_variables

LARGEST_SECONDS = {"worker_healthy_seconds": 7_200.0, "worker_forgotten_seconds": 60 * 86_400.0}
"""The longest likely values: beyond them, milliseconds may have been written."""

TOKENS = ("ai_usage_events.prompt_tokens", "ai_usage_events.completion_tokens")
"""The inputs that have prices, besides GPU workers, which `heartbeats.workers` knows."""

PRICES = "/etc/hivesync-analytics/prices.toml"
"""A usual place of the price file."""


@check("settings.names", cheap=True)
def names(installation: Installation) -> Findings:
    """Every variable with the prefix is a setting."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    findings: list[Finding] = []
    for variable in unknown_variables(installation.env_file):
        near = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.85)
        if near:
            findings.append(wrong(f"{variable} is no setting", f"{near[0]}=...  # in place of {variable}"))
        else:
            findings.append(look(f"{variable} is no setting", f"unset {variable}  # or leave it, if another program's"))
    return findings or [ok("every variable is a setting")]


@check("settings.ports", cheap=True)
def ports(installation: Installation) -> Findings:
    """The two ports differ."""
    settings = installation.settings
    if settings.metrics_listen.port == settings.admin_listen.port and settings.metrics_listen.port:
        free = settings.metrics_listen._replace(port=settings.metrics_listen.port + 1)
        return [wrong("METRICS_LISTEN and ADMIN_LISTEN have the same port", setting("admin_listen", str(free)))]
    return [ok(f"{settings.metrics_listen.port} for metrics, {settings.admin_listen.port} for the Analytics section")]


@check("settings.times", cheap=True)
def times(installation: Installation) -> Findings:
    """Times are in seconds, and in the right order."""
    settings = installation.settings
    findings = [
        look(f"{PREFIX}{name.upper()} is {value:g} s: milliseconds?", setting(name, f"{value / 1000:g}"))
        for name, largest in LARGEST_SECONDS.items()
        if (value := getattr(settings, name)) > largest
    ]
    if settings.worker_forgotten_seconds <= settings.worker_healthy_seconds:
        mend = setting("worker_forgotten_seconds", f"{max(86_400, settings.worker_healthy_seconds * 10):g}")
        findings.append(wrong("a worker is forgotten before it is unhealthy, so that none ever is", mend))
    if settings.worker_healthy_seconds <= settings.refresh_seconds:
        mend = setting("worker_healthy_seconds", f"{max(120, settings.refresh_seconds * 4):g}")
        findings.append(look("WORKER_HEALTHY_SECONDS is below a refresh period: healthy workers look silent", mend))
    return findings or [ok("likely")]


def counts_tokens(installation: Installation) -> bool:
    """Return whether this HiveSync records tokens."""
    return not set(TOKENS) <= set(installation.settings.not_provided)


@check("settings.prices", cheap=True)
def prices(installation: Installation) -> Findings:
    """A price file is set, without which there are no cost metrics."""
    found = installation.settings.prices()
    if found is None and not counts_tokens(installation):
        return [ok("no price file, and no tokens to be priced")]
    if found is None:
        mend = setting("prices_file", PRICES) + '  # [models."gpt-4.1"] prompt = 2 ...'
        return [look("no price file: no cost metrics", mend)]
    return [ok(f"{len(found.models)} models, {len(found.instances)} instance types")]


@check("settings.secrets", cheap=True)
def secrets(installation: Installation) -> Findings:
    """No other user of this machine can read the files with secrets."""
    env = installation.env_file or Path(".env")
    files = {env: f"chmod 600 {shlex.quote(str(env))}"} if _holds_secrets(env) else {}
    given = {name.upper(): value for name, value in {**dotenv_values(env), **os.environ}.items()}
    for name in SECRETS:
        if path := given.get(f"{PREFIX}{name.upper()}_FILE"):
            files[Path(path)] = f"chmod 600 {shlex.quote(path)}  # or its directory: chmod 700"
    findings = [
        look(f"every user of this machine can read {path}, which holds secrets", mend)
        for path, mend in files.items()
        if _open_to_all(path)
    ]
    return findings or [ok("readable by their owner and group alone" if files else "no file of secrets")]


def _holds_secrets(env: Path) -> bool:
    try:
        text = env.read_text(encoding="utf-8", errors="replace").upper()
    except OSError:
        return False
    return any(f"{PREFIX}{name.upper()}=" in text for name in SECRETS)


def _open_to_all(path: Path) -> bool:
    """Return whether each user can read the file and pass every directory above it."""
    try:
        folders = path.resolve().parents
        passable = all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)
        return passable and bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


CHECKS = (names, ports, times, prices, secrets)
