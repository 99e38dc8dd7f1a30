"""A stand-in of the Hugging Face Hub: the endpoints that creating a repository and a commit call, on a local port.

It takes *.safetensors by Git LFS in one part, as the Hub offers it, and all else in the commit. What is not here: Xet,
which the Hub prefers for new files, uploads in several parts, quotas, and the Hub's own check of a card's front matter.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_standin"


class StandIn(ThreadingHTTPServer):
    """`commits` are the files of each commit by name; `refuses` is a status that every request is answered by."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.private: dict[str, bool] = {}
        self.stored: dict[str, bytes] = {}  # by SHA-256
        self.commits: list[dict[str, bytes]] = []
        self.messages: list[str] = []
        self.asked: list[str] = []
        self.refuses = 0


class Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        body, path = self.rfile.read(int(self.headers["Content-Length"])), self.path
        self.server.asked.append(path)
        if self.server.refuses or self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.answer({"error": "no"}, self.server.refuses or 401)
        if path == "/api/repos/create":
            return self.created(json.loads(body))
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if "/preupload/" in path:
            return self.answer({"files": [self.mode(each["path"]) for each in json.loads(body)["files"]]})
        if path.endswith("/info/lfs/objects/batch"):
            return self.answer({"transfer": "basic", "objects": [self.place(o) for o in json.loads(body)["objects"]]})
        if "/commit/" not in path:
            return self.answer({"error": f"no {path} here"}, 404)
        return self.committed([json.loads(line) for line in body.splitlines()])

    def do_PUT(self) -> None:
        self.server.stored[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({})

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/models/").partition("?")[0].partition("/revision")[0]
        if name not in self.server.private:
            return self.answer({"error": "Repository not found"}, 404)
        return self.answer(
            {"id": name, "modelId": name, "private": self.server.private[name], "siblings": [], "tags": []}
        )

    def created(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.server.private:
            there = {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"}
            return self.answer(there, 409)
        self.server.private[name] = bool(wanted.get("private")) or wanted.get("visibility") == "private"
        return self.answer({"url": f"{self.server.url}/{name}", "name": name, "id": "1"})

    def mode(self, path: str) -> dict[str, Any]:
        kept = "lfs" if path.endswith(".safetensors") else "regular"
        return {"path": path, "uploadMode": kept, "shouldIgnore": False, "oid": None}

    def place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return wanted | {"actions": {"upload": {"href": f"{self.server.url}/lfs/{wanted['oid']}", "header": {}}}}

    def committed(self, lines: list[dict[str, Any]]) -> None:
        files: dict[str, bytes] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.server.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = data = self.server.stored[value["oid"]]
                assert (sha256(data).hexdigest(), len(data)) == (value["oid"], value["size"])
        self.server.commits.append(files)
        name = self.path.removeprefix("/api/models/").partition("/commit/")[0]
        self.answer({"success": True, "commitOid": "c0ffee", "commitUrl": f"{self.server.url}/{name}/commit/c0ffee"})

    def answer(self, value: dict[str, Any], code: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def stand_in() -> Iterator[StandIn]:
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
