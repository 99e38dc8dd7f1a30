"""The service as a process: what it answers, what it refuses and with which status, and how it ends."""

from __future__ import annotations

import http.client
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx_nets import CLASSES
from picture_files import KINDS, bomb_png, encoded, noise, png_of, webp_canvas
from servers import BOUNDARY, PATIENCE_S, Server, form, serving

from snugnet_runtime.cli import main
from snugnet_runtime.images import pixels
from snugnet_runtime.model import read

PNG = KINDS["rgb.png"]


@pytest.fixture(scope="module")
def server(model_file: Path) -> Iterator[Server]:
    with serving(model_file) as running:
        yield running
        assert running.ask("GET", "/health").status == 200, "nothing of what was sent has ended it"


def test_one_image_as_a_body(server: Server, model_file: Path):
    net = read(model_file)
    (shares,) = net.shares(pixels(PNG, net.card, "")[None])
    reply = server.classify(PNG)
    assert reply.status == 200
    (answer,) = reply.json
    expected = [{"class": name, "probability": pytest.approx(share, abs=1e-6)} for name, share in net.top(shares, 4)]
    assert answer == {"image": "image", **expected[0], "top": expected}
    assert sum(each["probability"] for each in answer["top"]) == pytest.approx(1)


def test_many_images_as_a_form(server: Server):
    reply = server.classify_files(*KINDS.items(), path="/classify?top=2")
    assert reply.status == 200
    assert [each["image"] for each in reply.json] == list(KINDS)
    assert all(len(each["top"]) == 2 and each["class"] in CLASSES for each in reply.json)
    alone = [server.classify(data).json[0]["class"] for data in list(KINDS.values())[:3]]
    assert alone == [each["class"] for each in reply.json[:3]]


def test_health_says_what_the_net_takes(server: Server):
    reply = server.ask("GET", "/health")
    assert {**reply.json, "version": ""} == {
        "status": "ok", "version": "", "image_size": 32, "channels": 3, "classes": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (bomb_png(), 413, "image: has more than 25,000,000 pixels; give a smaller image"),
        (png_of(20_000, 6_000, b""), 413, "image: is 20,000 × 6,000 pixels, more than"),
        (webp_canvas(16_000, 16_000), 413, "image: is 16,000 × 16,000 pixels, more than"),
        (b"Dear server,\nthis is a letter.\n", 415, "image: is no image of a known format; give one of BMP, GIF, JPEG"),
        (b"", 415, "image: is no image of a known format"),
        (png_of(50_000, 50_000, b""), 413, "image: has more than 25,000,000 pixels; give a smaller image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415, "image: is no image of a known format"),
        (PNG[: len(PNG) // 2], 400, "image: cannot be read as an image ("),
        (encoded(noise("F"), "TIFF"), 400, "image: cannot be read as an image (its pixels are floating-point numbers)"),
        (PNG[:200] + b"\xff" * 400 + PNG[600:], 400, "image: cannot be read as an image ("),
    ],
)
def test_what_is_no_image_is_refused(server: Server, data: bytes, status: int, words: str):
    reply = server.classify(data)
    assert (reply.status, reply.json["error"][: len(words)]) == (status, words)


def test_a_text_called_png_is_refused_and_named(server: Server):
    reply = server.classify_files(("good.png", PNG), ("letter.png", b"Dear server,"))
    assert reply.status == 415
    assert reply.json["error"].startswith("letter.png: is no image of a known format")


def test_a_body_that_says_it_is_too_large_is_not_awaited(server: Server):
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as wire:
        wire.sendall(
            b"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 100000000\r\n\r\n"
        )
        assert wire.recv(100).startswith(b"HTTP/1.1 413 ")


def test_100_mb_are_refused_and_not_kept(server: Server):
    before = server.resident_mb()
    reply = server.classify(bytes(100_000_000))
    assert (reply.status, reply.json) == (413, {"error": "the body is larger than 10 MB; send smaller or fewer images"})
    pieces = (bytes(1_000_000) for _ in range(100))  # without a length
    assert server.classify(pieces).status == 413
    assert server.resident_mb() - before < 60


def test_10_mb_are_the_last_that_are_taken(server: Server):
    padded = PNG + bytes(10_000_000 - len(PNG))  # what follows an image is not looked at
    assert server.classify(padded).status == 200
    assert server.classify(padded + b"\0").status == 413


@pytest.mark.parametrize(
    ("kind", "body", "status", "words"),
    [
        (
            "text/plain",
            PNG,
            415,
            "Content-Type: must be multipart/form-data or an image's, such as image/png; got 'text/p",
        ),
        ("", PNG, 415, "Content-Type: must be"),
        ("multipart/form-data", form(("a", PNG)), 400, "multipart/form-data: names no boundary"),
        (f'multipart/form-data; boundary="{BOUNDARY}"', b"nothing of the kind", 400, "multipart/form-data: "),
        (f'multipart/form-data; boundary="{BOUNDARY}"', form(("a", PNG))[:-9], 400, "multipart/form-data: ends before"),
        (f'multipart/form-data; boundary="{BOUNDARY}"', form(), 400, "multipart/form-data: "),
        (
            f'multipart/form-data; boundary="{BOUNDARY}"',
            form(*[("a", PNG)] * 65),
            413,
            "more than 64 images in a request",
        ),
    ],
)
def test_bodies_that_cannot_be_meant(server: Server, kind: str, body: bytes, status: int, words: str):
    reply = server.classify(body, kind)
    assert (reply.status, reply.json["error"][: len(words)]) == (status, words)


@pytest.mark.parametrize("top", ["0", "5", "many", "-1", "1.5", "9" * 5000, "²"])
def test_top_must_be_a_number_of_classes(server: Server, top: str):
    from urllib.parse import quote

    reply = server.classify(PNG, path=f"/classify?top={quote(top)}")
    assert reply.status == 400
    assert reply.json["error"].startswith("top: must be ")


def test_paths_and_methods(server: Server):
    assert server.ask("GET", "/secrets").json == {"error": "/secrets: no such path"}
    reply = server.ask("GET", "/classify")
    assert (reply.status, reply.json) == (405, {"error": "/classify: another method is needed"})
    assert reply.headers["Allow"] == "POST"
    assert server.ask("GET", "/docs").status == server.ask("GET", "/openapi.json").status == 404


def test_headers_of_every_answer(server: Server):
    for reply in (server.ask("GET", "/"), server.classify(b"no"), server.ask("GET", "/none")):
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        assert reply.headers["Access-Control-Allow-Origin"] is None
        assert reply.headers["Server"] is None


def test_metrics_count_what_happened(server: Server):
    def value(name: str) -> float:
        lines = server.ask("GET", "/metrics").body.decode().splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + " ")), 0.0)

    names = [
        'snug_requests_total{path="/classify",status="200"}',
        "snug_images_total",
        "snug_classify_seconds_count",
        'snug_requests_total{path="/classify",status="415"}',
        'snug_requests_total{path="other",status="404"}',
    ]
    before = [value(name) for name in names]
    server.classify_files(("a", PNG), ("b", PNG))
    server.classify(b"no image")
    server.ask("GET", "/a-path-of-a-stranger")
    assert [value(name) - old for name, old in zip(names, before, strict=True)] == [1, 2, 1, 1, 1]
    assert value("snug_images_in_flight") == value("snug_body_bytes_in_flight") == 0
    assert value("process_resident_memory_bytes") > 1e7
    assert value('snug_batch_images_bucket{le="+Inf"}') == value("snug_batch_images_count")
    assert b"stranger" not in server.ask("GET", "/metrics").body


def test_many_at_once_are_computed_together(server: Server):
    def counts() -> list[float]:
        lines = server.ask("GET", "/metrics").body.decode().splitlines()
        found = {line.split(" ")[0]: float(line.split(" ")[1]) for line in lines if not line.startswith("#")}
        return [found["snug_batch_images_sum"], found["snug_batch_images_count"]]

    before, statuses = counts(), []
    threads = [
        threading.Thread(target=lambda: statuses.append(server.classify_files(*[("a", PNG)] * 16).status))
        for _ in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    images, batches = (after - old for after, old in zip(counts(), before, strict=True))
    assert statuses == [200] * 8
    assert images == 128
    assert batches <= 32, "four images a batch, at the least"


def test_a_token(model_file: Path):
    with serving(model_file, SNUG_TOKEN="s3cret") as server:
        assert server.ask("GET", "/health").status == server.ask("GET", "/").status == 200
        for given in (None, "Bearer wrong", "Basic s3cret", "Bearer s3cret2", "Bearer", "s3cret", "Bearer é"):
            reply = server.classify(PNG, **({} if given is None else {"Authorization": given}))
            assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer"), given
        assert server.ask("GET", "/metrics").status == server.ask("GET", "/none").status == 401
        assert server.classify(PNG, Authorization="Bearer s3cret").status == 200


def test_a_rate(model_file: Path):
    with serving(model_file, "--rate", 0.01) as server:
        first, late = server.classify(PNG), server.classify(PNG)
        assert (first.status, late.status) == (200, 429)
        wait_s = int(late.headers["Retry-After"])
        assert 0 < wait_s <= 100
        assert late.json == {"error": f"more than 0.01 requests a second; try again in {wait_s} s"}
        assert server.ask("GET", "/health").status == 200
        forged = server.classify(PNG, X_Forwarded_For="10.1.2.3")
        assert forged.status == 429, "nobody was told to believe this header"


def test_a_full_queue(model_file: Path):
    with serving(model_file, "--queue", 2, "--max-images", 2) as server:
        slow = [socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) for _ in range(2)]
        for wire in slow:
            wire.sendall(b"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n")
        replies = iter(lambda: server.classify(PNG), None)
        reply = next(each for each in replies if each.status != 200)
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        assert reply.json == {"error": "the server is busy; try again in 1 s"}
        for wire in slow:
            wire.close()
        end = time.monotonic() + PATIENCE_S
        while (status := server.classify(PNG).status) == 503 and time.monotonic() < end:
            time.sleep(0.05)
        assert status == 200, "clients that leave make room"


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_what_is_under_way_is_answered_before_the_end(model_file: Path, which: signal.Signals):
    with serving(model_file) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
        connection.putrequest("POST", "/classify")
        connection.putheader("Content-Type", "image/png")
        connection.putheader("Content-Length", str(len(PNG)))
        connection.endheaders(PNG[:100])
        metrics = server.ask("GET", "/metrics").body
        assert b"snug_images_in_flight 1" in metrics
        server.process.send_signal(which)
        time.sleep(0.5)
        connection.send(PNG[100:])
        assert connection.getresponse().status == 200
        connection.close()
        assert server.process.wait(PATIENCE_S) == 0
        assert server.process.stderr
        assert server.process.stderr.read() == "", "it ends without a word"


def test_a_line_a_request_where_it_is_wanted(model_file: Path):
    with serving(model_file, "--log") as server:
        server.classify(PNG)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
        assert server.process.stderr
        line = server.process.stderr.read()
        assert line.startswith('127.0.0.1 POST "/classify" 200 ')
        assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-pixels", "90000000"], "--max-pixels: must be at most 89,478,485, Pillow's own limit; got 90,000,000"),
        (["--token", ""], "--token: must be printable ASCII, and not empty"),
        (["--batch", "0"], "--batch: must be at least 1; got 0"),
        (["--queue", "3"], "--queue: must hold a whole request, 64 images (--max-images); got 3"),
        (["--max-bytes", "much"], "--max-bytes: must be a number of bytes, such as 10MB; got 'much'"),
        (["--wait", "nan"], "--wait must be 0 to 1000 ms and --rate 0 or more; got nan and 0"),
        (["--port", "99999"], "--port: must be 0 to 65535; got 99999"),
        (["--host", "203.0.113.7"], "203.0.113.7:8000: cannot be listened at ("),
        (["--top", "9"], "--top: must be 1 to 4, the classes of the net; got 9"),
    ],
)
def test_what_cannot_be_meant_ends_before_it_serves(
    model_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: str,
):
    monkeypatch.setattr("sys.argv", ["snug-runtime", "serve", str(model_file), *options])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"UsageError: {words}")
