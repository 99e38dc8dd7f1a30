"""What happens to every request before and after its own work: who may ask, how often, what is counted and said."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from snugnet_runtime.errors import Refused
from snugnet_runtime.limits import Rates, Settings, check_token
from snugnet_runtime.metrics import Metrics

OPEN = ("/", "/health")  # without a token: a page that holds nothing, and a sign of life
COUNTED = ("/classify", "/explain")  # by the rate of a client
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
POLICY = "default-src 'none'; frame-ancestors 'none'"  # of answers that are no page


class Guard:
    """ASGI middleware. Every error is answered here, as JSON with one field, `error`."""

    def __init__(self, app: ASGIApp, settings: Settings, rates: Rates, metrics: Metrics) -> None:
        self._app, self._settings, self._rates, self._metrics = app, settings, rates, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _secure(MutableHeaders(scope=message))
            await send(message)

        try:
            self._admit(scope)
            await self._app(scope, receive, noted)
        except Refused as refusal:
            await _answer(refusal)(scope, receive, noted)
        except Exception as error:
            sys.stderr.write(f"{scope['method']} {json.dumps(scope['path'])}: {type(error).__name__}: {error}\n")
            if not status:
                failure = Refused(500, "the server has failed at this request; its log says more")
                await _answer(failure)(scope, receive, noted)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _admit(self, scope: Scope) -> None:
        """Raises Refused."""
        path = scope["path"]
        if path in COUNTED:
            self._rates.count(_client(scope))
        if path not in OPEN:
            header = Headers(scope=scope).get("authorization")
            check_token(self._settings.token, None if header is None else header.encode("latin-1"))

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        self._metrics.request(scope["path"], status, seconds)
        if self._settings.is_logging:
            path = json.dumps(scope["path"])
            line = f"{_client(scope)} {scope['method']} {path} {status} {1000 * seconds:.1f} ms"
            sys.stderr.write(line + "\n")


async def not_found(request: Request, error: Exception) -> JSONResponse:
    status: int = getattr(error, "status_code", 500)
    words = {404: "no such path", 405: "another method is needed"}.get(status, "refused")
    headers: Any = getattr(error, "headers", None)
    return JSONResponse({"error": f"{request.url.path[:200]}: {words}"}, status, headers)


def _answer(refusal: Refused) -> JSONResponse:
    headers = {} if refusal.retry_s is None else {"Retry-After": str(refusal.retry_s)}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.status == 408:
        headers["Connection"] = "close"
    return JSONResponse({"error": str(refusal)}, refusal.status, headers)


def _secure(headers: MutableHeaders) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Content-Security-Policy", POLICY)


def _client(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""
