"""What a server takes from its clients, and when it says no. All that is kept of clients is bounded."""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from snugnet_runtime.errors import Refused, UsageError
from snugnet_runtime.images import MAX_PIXELS, MOST_PIXELS

MB = 1_000_000
UNITS = {"kb": 1_000, "mb": MB, "b": 1}  # the last ends the others too
CLIENTS = 10_000  # whose rates are remembered; the one that was longest silent is forgotten first
BODIES = 16  # as many of the largest bodies lie in memory at once


@dataclass(frozen=True)
class Settings:
    """`queue`: images that are decoded or wait at once. `rate`: requests a second of one client, 0 is any number."""

    token: str | None = None
    max_bytes: int = 10 * MB
    max_pixels: int = MAX_PIXELS
    max_images: int = 64
    rate: float = 0.0
    queue: int = 1024
    batch: int = 32
    wait_ms: float = 2.0
    decoders: int = 2  # threads
    top: int | None = None  # classes an image; five where there are as many
    body_s: float = 30.0  # for a body to arrive in
    is_logging: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError."""
        for name in ("max_bytes", "max_pixels", "max_images", "queue", "batch", "decoders"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')}: must be at least 1; got {getattr(self, name)}")
        if self.max_pixels > MOST_PIXELS:
            raise UsageError(
                f"--max-pixels: must be at most {MOST_PIXELS:,}, Pillow's own limit; got {self.max_pixels:,}"
            )
        if not (0 <= self.wait_ms <= 1000 and 0 <= self.rate < float("inf") and self.body_s > 0):
            raise UsageError(
                f"--wait must be 0 to 1000 ms and --rate 0 or more; got {self.wait_ms:g} and {self.rate:g}"
            )
        if self.queue < self.max_images:
            raise UsageError(
                f"--queue: must hold a whole request, {self.max_images} images (--max-images); got {self.queue}"
            )
        if self.token is not None and (not self.token or not self.token.isascii() or not self.token.isprintable()):
            raise UsageError("--token: must be printable ASCII, and not empty")


def size_bytes(text: str) -> int:
    """Of "10MB", "500kB" or "4096". Raises UsageError."""
    lower = text.strip().lower()
    unit = next((unit for unit in UNITS if lower.endswith(unit)), "")
    number = lower.removesuffix(unit).strip()
    if not (number.isascii() and number.isdigit()):
        raise UsageError(f"--max-bytes: must be a number of bytes, such as 10MB; got {text!r}")
    return int(number) * UNITS.get(unit, 1)


def check_token(token: str | None, header: bytes | None) -> None:
    """Compares in a time that does not depend on where they differ. Raises Refused."""
    if token is None:
        return
    kind, _, given = (header or b"").partition(b" ")
    if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), token.encode()):
        raise Refused(401, "a token is needed: send the header Authorization: Bearer TOKEN")


class Rates:
    """A bucket a client: `rate` requests a second, as many at once."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic, clients: int = CLIENTS) -> None:
        self._rate, self._clock, self._clients = rate, clock, clients
        self._depth = max(rate, 1.0)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when it was

    def __len__(self) -> int:
        return len(self._buckets)

    def count(self, address: str) -> None:
        """Raises Refused for one request too many."""
        if not self._rate:
            return
        client, now = whose(address), self._clock()
        left, before = self._buckets.pop(client, (self._depth, now))
        left = min(self._depth, left + (now - before) * self._rate)
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        if left < 1:
            wait_s = ceil((1 - left) / self._rate)
            raise Refused(429, f"more than {self._rate:g} requests a second; try again in {wait_s} s", wait_s)


def whose(address: str) -> str:
    """A client by its address; in IPv6 by its network, of which one client has all addresses."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(known.ipv4_mapped or ipaddress.ip_network((known, 64), strict=False))


class Load:
    """What is in memory at once: images on their way, and bytes of bodies."""

    def __init__(self, images: int, size_bytes: int) -> None:
        self.images, self.size_bytes = 0, 0
        self._most_images, self._most_bytes = images, size_bytes

    def take(self, images: int = 0, size_bytes: int = 0) -> None:
        """Raises Refused where there is no room."""
        if self.images + images > self._most_images or self.size_bytes + size_bytes > self._most_bytes:
            raise Refused(503, "the server is busy; try again in 1 s", 1)
        self.images += images
        self.size_bytes += size_bytes

    def give(self, images: int = 0, size_bytes: int = 0) -> None:
        self.images -= images
        self.size_bytes -= size_bytes
