"""One-time login codes: valid once, for ten minutes, and bounded in number."""

from __future__ import annotations

from admin.access.login_codes import CODES_AT_MOST, LIFETIME_SECONDS, LoginCodes


def test_a_code_works_once() -> None:
    codes = LoginCodes(lambda: 0.0)
    code = codes.issue()
    assert codes.redeem(code)
    assert not codes.redeem(code)


def test_a_code_works_for_ten_minutes() -> None:
    now = 0.0
    codes = LoginCodes(lambda: now)
    early, late = codes.issue(), codes.issue()
    now = LIFETIME_SECONDS - 1
    assert codes.redeem(early)
    now = LIFETIME_SECONDS
    assert not codes.redeem(late)


def test_no_other_code_works() -> None:
    codes = LoginCodes(lambda: 0.0)
    code = codes.issue()
    for other in ("", code[:-1], f"{code}x", code.swapcase(), "\ud800"):
        assert not codes.redeem(other)
    assert codes.redeem(code)


def test_codes_are_long_and_differ() -> None:
    codes = LoginCodes(lambda: 0.0)
    issued = {codes.issue() for _ in range(50)}
    assert len(issued) == 50
    assert all(len(code) >= 43 for code in issued)


def test_the_oldest_of_too_many_codes_is_dropped() -> None:
    codes = LoginCodes(lambda: 0.0)
    oldest, *others = [codes.issue() for _ in range(CODES_AT_MOST + 1)]
    assert not codes.redeem(oldest)
    assert all(codes.redeem(code) for code in others)


def test_only_a_hash_of_the_code_is_kept() -> None:
    codes = LoginCodes(lambda: 0.0)
    code = codes.issue()
    assert code not in repr(vars(codes))
