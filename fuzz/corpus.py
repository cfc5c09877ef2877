"""The corpus: for each target, the inputs that broke its property once, as small files.

`make fuzz` adds its findings; `make test` replays it. A file's name is a description, or a digest of its content.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def entries(target: str, directory: Path = CORPUS) -> dict[str, bytes]:
    """Return the inputs of a target by their names."""
    return {path.name: path.read_bytes() for path in sorted((directory / target).glob("*")) if path.is_file()}


def add(target: str, content: bytes, directory: Path = CORPUS) -> str:
    """Keep an input; return its name."""
    name = blake2b(content, digest_size=8).hexdigest()
    (directory / target).mkdir(parents=True, exist_ok=True)
    (directory / target / name).write_bytes(content)
    return name
