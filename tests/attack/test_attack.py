"""`python -m attack`: all attacks are held by the demo, and no other machine is attacked."""

from __future__ import annotations

import re
import socket

import pytest

from attack.__main__ import main
from servers.ports import free_port


def test_the_demo_holds_every_attack(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without those that wait for a limit in time, which tests/exporter/httpd has with shorter ones."""
    monkeypatch.setenv("COLUMNS", "300")  # the table is as wide as the terminal
    status = main(["--quick"], {})
    printed = capsys.readouterr().out
    found = re.search(
        r"^([0-9]+) attacks in .*: ([0-9]+) held, 0 not held, ([0-9]+) not applicable$", printed, re.MULTILINE
    )
    assert found, printed[printed.find("attacks in") :]
    assert status == 0
    assert int(found[1]) > 700
    without_tls = printed.count("the port has no TLS") + printed.count("the admin port has no TLS of its own")
    assert int(found[3]) == without_tls, "all the knowledge is there that an attack can need"
    assert "planted names in it" in printed


@pytest.mark.parametrize("address", ["192.0.2.1", "0.0.0.0", "[2001:db8::1]", "10.0.0.1", "169.254.169.254"])
def test_only_loopback_addresses_are_attacked(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("connected"))
    urls = ["--metrics-url", "http://127.0.0.1:1", "--admin-url", f"http://{address}:1"]
    assert main(urls, {}) == 2
    assert "only loopback addresses are attacked" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--admin-url", "http://127.0.0.1:1"], "belong together"),
        (["--connections", "0"], "should be from 1 to 5000"),
        (["--only", "none"], "invalid choice"),
    ],
)
def test_an_invalid_option_is_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments, {})
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("url", ["127.0.0.1:10177", "ftp://127.0.0.1/", "http:///x"])
def test_another_kind_of_url_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--metrics-url", url, "--admin-url", url], {}) == 2
    assert url in capsys.readouterr().err


def test_a_port_that_does_not_answer_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert main(["--metrics-url", url, "--admin-url", url], {}) == 2
    assert f"{url}: no answer" in capsys.readouterr().err
