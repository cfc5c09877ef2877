"""The keys of queues in the settings (docs/definitions.md#celery-queue)."""

from __future__ import annotations

from pathlib import Path

import pytest
from kombu.transport.redis import Channel

from exporter.errors import SettingsError
from exporter.queue_keys import CeleryKeys
from exporter.settings import Settings, read_settings

REQUIRED = {"DATABASE_URL": "postgresql://db/hivesync", "REDIS_URL": "redis://cache"}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A directory without `.env`."""
    monkeypatch.chdir(tmp_path)


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in {**REQUIRED, **variables}.items():
        monkeypatch.setenv(f"HIVESYNC_{name.upper()}", value)
    return read_settings()


def test_the_defaults_are_those_of_celery() -> None:
    keys = CeleryKeys()
    channel = Channel
    assert [channel.sep, *channel.priority_steps] == ["\x06\x16", *keys.steps]
    assert (channel.unacked_key, channel.unacked_index_key) == (keys.unacked, keys.unacked_index)
    assert channel.global_keyprefix == keys.prefix
    assert keys.lists("q") == (b"q", b"q\x06\x163", b"q\x06\x166", b"q\x06\x169")


def test_the_lists_of_a_queue_follow_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch, celery_key_prefix="hive:", celery_priority_separator=r":\x1F", celery_priority_steps="0,5"
    )
    assert settings.celery_keys().lists("q") == (b"hive:q", b"hive:q:\x1f5")


@pytest.mark.parametrize("setting", ["ai_queue_keys", "preview_queue_keys", "dead_letter_keys"])
@pytest.mark.parametrize("key", ["celery:", "celery:ai_*", "celery:*", "celery:a?", "celery:[ab]"])
def test_a_celery_queue_is_written_with_its_name(setting: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as refused:
        read(monkeypatch, **{setting: f"ai_queue:*,{key}"})
    message = str(refused.value)
    assert message.startswith(f"HIVESYNC_{setting.upper()}: celery:")
    assert ("as in celery:ai_tasks" if key == "celery:" else "without a wildcard") in message


@pytest.mark.parametrize("step", ["high", "-1", "256", "1.5"])
def test_a_priority_is_a_small_whole_number(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"^HIVESYNC_CELERY_PRIORITY_STEPS: .* should be a priority from 0 to 255"):
        read(monkeypatch, celery_priority_steps=f"0,{step}")
