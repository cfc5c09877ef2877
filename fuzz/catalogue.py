"""All targets, by name.

targets/ -> catalogue (this) -> worker, __main__, docs, tests
"""

from __future__ import annotations

from collections.abc import Mapping

from fuzz.target import ByteTarget, MachineTarget
from fuzz.targets import (
    cookies,
    http_requests,
    log_lines,
    log_rotation,
    price_files,
    proxy_paths,
    redis_values,
    request_headers,
    settings,
    state_files,
    tokens,
    web_configs,
)

BYTE_TARGETS: Mapping[str, ByteTarget] = {
    module.TARGET.name: module.TARGET
    for module in (
        log_lines,
        redis_values,
        settings,
        price_files,
        web_configs,
        tokens,
        cookies,
        request_headers,
        proxy_paths,
        state_files,
        http_requests,
    )
}
MACHINES: Mapping[str, MachineTarget] = {log_rotation.TARGET.name: log_rotation.TARGET}

CATALOGUE: Mapping[str, ByteTarget | MachineTarget] = {**BYTE_TARGETS, **MACHINES}
