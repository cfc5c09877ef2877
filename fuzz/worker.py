"""python -m fuzz.worker TARGET ENGINE: one campaign in this process; its result is the last line of standard output.

__main__ -> worker (this) -> engines
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import ModuleType

from fuzz import engines
from fuzz.campaign import Campaign, Tally
from fuzz.corpus import CORPUS
from fuzz.target import ByteTarget, MachineTarget
from servers.postgres_files import MEMORY

LEAST_SHARE = 0.5
"""Share of the time that is left to the inputs, however long the start takes on a busy machine."""


def main() -> int:
    """Run the campaign."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m fuzz.worker")
    parser.add_argument("target")
    parser.add_argument("engine", choices=(engines.GRAMMAR, engines.BYTES))
    parser.add_argument("--seconds", type=float, required=True, help="of the whole process")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    chosen = parser.parse_args()
    guided = chosen.engine == engines.BYTES and engines.has_atheris()
    target: ByteTarget | MachineTarget = _catalogue(guided=guided).CATALOGUE[chosen.target]
    name = "coverage" if guided else "mutation" if chosen.engine == engines.BYTES else "grammar"
    tally = Tally(target.name, name, chosen.seed)
    directory = Path(tempfile.mkdtemp(prefix="hivesync-fuzz-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    tempfile.tempdir = str(directory)
    results = os.dup(1)  # what the product prints is not the result
    os.dup2(2, 1)

    def ended() -> None:
        shutil.rmtree(directory, ignore_errors=True)
        os.write(results, json.dumps(tally.to_json()).encode() + b"\n")

    inner = directory / "target"
    inner.mkdir()
    with target.opened(inner) if isinstance(target, ByteTarget) else nullcontext(engines.steps_check(target)) as check:
        campaign = Campaign(
            tally, check, max(LEAST_SHARE * chosen.seconds, started + chosen.seconds - time.monotonic()), chosen.corpus
        )
        if not isinstance(target, ByteTarget):
            engines.by_steps(target, campaign, chosen.seed)
        elif guided:
            engines.by_coverage(target, campaign, chosen.seed, directory, ended)
        elif chosen.engine == engines.BYTES:
            engines.by_mutation(target, campaign, chosen.seed)
        else:
            engines.by_grammar(target, campaign, chosen.seed)
    ended()
    return 0


def _catalogue(*, guided: bool) -> ModuleType:
    """Import the targets, and the product with them: instrumented for atheris."""
    if not guided:
        return import_module("fuzz.catalogue")
    import atheris

    with atheris.instrument_imports(include=engines.INSTRUMENTED):
        return import_module("fuzz.catalogue")


if __name__ == "__main__":
    sys.exit(main())
