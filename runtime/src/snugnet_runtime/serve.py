"""The HTTP service: images in, classes out. Nothing of an image is kept, and nothing here waits on the event loop."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.requests import ClientDisconnect

from snugnet_runtime import __version__, looking, multipart
from snugnet_runtime.batching import Batcher
from snugnet_runtime.errors import Refused, UsageError
from snugnet_runtime.guard import Guard, not_found
from snugnet_runtime.images import pixels
from snugnet_runtime.limits import BODIES, MB, Load, Rates, Settings
from snugnet_runtime.metrics import Metrics
from snugnet_runtime.model import Maps, Model, Pixels, Shares
from snugnet_runtime.page import page

MULTIPART = "multipart/form-data"
RAW = ("image/", "application/octet-stream")
PATHS = ("/", "/classify", "/explain", "/health", "/metrics")
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
TOP = 5
CONNECTIONS, BACKLOG, KEEP_ALIVE_S, GRACE_S = 1000, 1024, 30, 30

T = TypeVar("T")


class Service:
    """What the requests to one net share."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self._usual_top = _usual_top(model, settings.top)
        self.metrics = Metrics(PATHS)
        self.load = Load(settings.queue, BODIES * settings.max_bytes)
        self.batcher = Batcher(model.shares, settings.batch, settings.wait_ms / 1000, self.metrics.batches.add)
        self._decoders = ThreadPoolExecutor(settings.decoders, "decoder")

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        await self.batcher.start()
        yield
        await self.batcher.stop()
        self._decoders.shutdown()

    async def health(self) -> JSONResponse:
        card = self.model.card
        about = {"image_size": card.size, "channels": card.channels, "classes": len(card.classes)}
        return JSONResponse({"status": "ok", "version": __version__, **about})

    async def counts(self) -> PlainTextResponse:
        return PlainTextResponse(self.metrics.text(self.load.images, self.load.size_bytes), media_type=PROMETHEUS)

    async def classify(self, request: Request) -> JSONResponse:
        top, kind = self._top(request), _kind(request)
        body, images = bytearray(), 0
        try:
            self.load.take(images=1)
            images = 1
            await self._read(request, body)
            named = await self._named(request, kind, bytes(body))
            self.load.take(images=len(named) - 1)
            images = len(named)
            shares = await self.batcher.ask(await self._decoded(named))
        finally:
            self.load.give(images=images, size_bytes=len(body))
        self.metrics.images += images
        answers = [self._answer(name, self.model.top(own, top)) for (name, _), own in zip(named, shares, strict=True)]
        return JSONResponse(answers)

    async def explain(self, request: Request) -> JSONResponse:
        """Where the net looks in one image: what speaks for a class, the most probable one where none is named."""
        if _kind(request) == MULTIPART:
            raise Refused(415, "explain: takes one image, as the body with a Content-Type such as image/png")
        body, images = bytearray(), 0
        try:
            self.load.take(images=1)
            images = 1
            await self._read(request, body)
            (image,) = await self._decoded([("image", bytes(body))])
            (shares,) = await self.batcher.ask([image])
            label = self._label(request, shares)
            if self.model.has_maps:
                maps = await self.batcher.run(partial(self.model.class_maps, image))
                method, found = (
                    "class map",
                    maps[label] - maps.mean(0),
                )  # what all classes have in common decides nothing
            else:
                more = len(looking.places(self.model.card.size))
                self.load.take(images=more)
                images += more
                method, found = "occlusion", await self._occlusion(image, label, float(shares[label]))
        finally:
            self.load.give(images=images, size_bytes=len(body))
        about = {"class": self.model.card.classes[label], "probability": float(shares[label]), "method": method}
        return JSONResponse(about | {"map": [[float(f"{each:.4g}") for each in row] for row in found.tolist()]})

    async def _occlusion(self, image: Pixels, label: int, before: float) -> Maps:
        card = self.model.card
        after = await self.batcher.ask(looking.hidden(image, card.mean))
        return looking.lost(before, [float(each[label]) for each in after], card.size)

    def _label(self, request: Request, shares: Shares) -> int:
        name, known = request.query_params.get("class"), self.model.card.classes
        if name is None:
            return int(shares.argmax())
        if name not in known:
            raise Refused(400, f"class: must be one of the net's {len(known)} classes; got {name[:80]!r}")
        return known.index(name)

    def _top(self, request: Request) -> int:
        given = request.query_params.get("top")
        if given is None:
            return self._usual_top
        try:
            if not (given.isascii() and given.isdigit() and len(given) < 10):
                raise ValueError("must be a whole number")
            return self.model.card.check_top(int(given))
        except ValueError as error:
            raise Refused(400, f"top: {error}") from error

    async def _read(self, request: Request, body: bytearray) -> None:
        """Refuses by what the header says, and by what comes; what it has put into `body` is taken. Raises Refused."""
        most = self.settings.max_bytes
        if int(request.headers.get("content-length", 0)) > most:
            raise _too_large(most)
        try:
            async with asyncio.timeout(self.settings.body_s):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > most:
                        raise _too_large(most)
                    self.load.take(size_bytes=len(chunk))
                    body += chunk
        except TimeoutError as error:
            raise Refused(408, f"the body took more than {self.settings.body_s:g} s; send it again") from error
        except ClientDisconnect as error:
            raise Refused(400, "the body ended early") from error

    async def _named(self, request: Request, kind: str, body: bytes) -> list[tuple[str, bytes]]:
        if kind != MULTIPART:
            return [("image", body)]
        header = request.headers["content-type"]
        return await self._in_thread(partial(multipart.files, header, body, self.settings.max_images))

    async def _decoded(self, named: list[tuple[str, bytes]]) -> list[Pixels]:
        card, most = self.model.card, self.settings.max_pixels
        asked = [self._in_thread(partial(pixels, data, card, name, most)) for name, data in named]
        found = await asyncio.gather(*asked, return_exceptions=True)  # all end before any is answered
        if failed := next((each for each in found if isinstance(each, BaseException)), None):
            raise failed
        return [each for each in found if not isinstance(each, BaseException)]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)

    def _answer(self, name: str, top: list[tuple[str, float]]) -> dict[str, Any]:
        listed = [{"class": each, "probability": share} for each, share in top]
        return {"image": name, **listed[0], "top": listed}


def create_app(model: Model, settings: Settings) -> FastAPI:
    """The application of a net, for any ASGI server with a lifespan."""
    service = Service(model, settings)
    text, policy = page()

    async def front() -> HTMLResponse:
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    app = FastAPI(title="snugnet", docs_url=None, redoc_url=None, openapi_url=None, lifespan=service.lifespan)
    app.add_api_route("/", front, methods=["GET", "HEAD"], response_model=None)
    app.add_api_route("/health", service.health, methods=["GET", "HEAD"], response_model=None)
    app.add_api_route("/metrics", service.counts, methods=["GET"], response_model=None)
    app.add_api_route("/classify", service.classify, methods=["POST"], response_model=None)
    app.add_api_route("/explain", service.explain, methods=["POST"], response_model=None)
    for status in (404, 405):
        app.add_exception_handler(status, not_found)
    app.add_middleware(Guard, settings=settings, rates=Rates(settings.rate), metrics=service.metrics)
    return app


def run(model: Model, settings: Settings, host: str, port: int, proxy: str | None = None) -> None:
    """Serves until SIGINT or SIGTERM, answers what is under way, and returns. `proxy`: the address whose word on who
    asks is taken. Raises UsageError for an address that cannot be had."""
    app = create_app(model, settings)
    model.shares(model.blank(settings.batch))  # the largest batch: its memory is taken now
    listener = _listener(host, port)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, ws="none",
        proxy_headers=proxy is not None, forwarded_allow_ips=proxy, limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=GRACE_S, lifespan="on",
    )  # fmt: skip
    for each in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them once more when it has ended in order
        signal.signal(each, lambda *_: None)
    shown = f"[{host}]" if ":" in host else host
    sys.stderr.write(f"Serving {model.path} at http://{shown}:{listener.getsockname()[1]}; Ctrl-C ends it\n")
    sys.stderr.flush()
    uvicorn.Server(config).run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65_535:
        raise UsageError(f"--port: must be 0 to 65535; got {port}")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UsageError(f"{host}:{port}: cannot be listened at ({error}); give another --host or --port") from error


def _usual_top(model: Model, wanted: int | None) -> int:
    """Raises UsageError."""
    if wanted is None:
        return min(TOP, len(model.card.classes))
    try:
        return model.card.check_top(wanted)
    except ValueError as error:
        raise UsageError(f"--top: {error}") from error


def _kind(request: Request) -> str:
    """Raises Refused for what can be no image."""
    kind: str = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART and not kind.startswith(RAW):
        raise Refused(415, f"Content-Type: must be {MULTIPART} or an image's, such as image/png; got {kind[:80]!r}")
    return kind


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body is larger than {most / MB:g} MB; send smaller or fewer images")
