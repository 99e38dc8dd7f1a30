"""Who is served, and how much of them is remembered."""

from __future__ import annotations

import pytest

from snugnet_runtime.errors import Refused
from snugnet_runtime.limits import Load, Rates, check_token, whose


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_is_held_to_the_request():
    clock = Clock()
    rates = Rates(2, clock)
    for _ in range(2):
        rates.count("1.2.3.4")
    with pytest.raises(Refused, match=r"^more than 2 requests a second; try again in 1 s$") as refused:
        rates.count("1.2.3.4")
    assert (refused.value.status, refused.value.retry_s) == (429, 1)
    rates.count("1.2.3.5")
    clock.now = 0.499
    with pytest.raises(Refused):
        rates.count("1.2.3.4")
    clock.now = 0.5
    rates.count("1.2.3.4")
    clock.now = 1000
    for _ in range(2):
        rates.count("1.2.3.4")
    with pytest.raises(Refused):
        rates.count("1.2.3.4")


def test_the_client_that_was_silent_longest_is_forgotten():
    rates = Rates(1, Clock(), clients=3)
    for address in ("a", "b", "c"):
        rates.count(address)
    with pytest.raises(Refused):
        rates.count("a")  # and is the latest now
    rates.count("d")
    assert len(rates) == 3
    with pytest.raises(Refused):
        rates.count("a")
    rates.count("b")


def test_no_rate_remembers_nobody():
    rates = Rates(0)
    for _ in range(100):
        rates.count("a")
    assert len(rates) == 0


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_client_is_its_network_in_ipv6(address: str, client: str):
    assert whose(address) == client


def test_load_is_refused_at_its_bounds_and_given_back():
    load = Load(3, 100)
    load.take(images=3, size_bytes=100)
    for more in ({"images": 1}, {"size_bytes": 1}):
        with pytest.raises(Refused, match=r"^the server is busy; try again in 1 s$") as refused:
            load.take(**more)
        assert (refused.value.status, refused.value.retry_s) == (503, 1)
    load.give(images=1, size_bytes=1)
    load.take(images=1, size_bytes=1)
    assert (load.images, load.size_bytes) == (3, 100)


def test_a_token():
    check_token(None, None)
    check_token("abc", b"Bearer abc")
    check_token("abc", b"bearer abc")
    for header in (None, b"", b"abc", b"Bearer", b"Bearer ab", b"Bearer abcd", b"Basic abc", b"Bearer \xff"):
        with pytest.raises(Refused, match=r"^a token is needed: send the header Authorization: Bearer TOKEN$"):
            check_token("abc", header)
