"""As much of a W&B server as its client asks for: it takes everything and remembers it.

It stands where the network begins: the client, its background process and wandb-workspaces are the
real ones.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "somebody"


class FakeWandb:
    """What was sent.

    Attributes:
        calls: GraphQL operations with their variables, in order.
        streams: what was written to each run's files, in order, by the run's id.
        refused: operations that are answered with an error, and its text.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.streams: dict[str, list[dict[str, Any]]] = {}
        self.refused: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "0" * 40}

    def called(self, operation: str) -> list[dict[str, Any]]:
        return [variables for name, variables in self.calls if name == operation]

    def lines(self, run: str, file: str) -> list[dict[str, Any]]:
        """A file as it is after all writes; each begins at a line and replaces what follows."""
        lines: list[str] = []
        for sent in self.streams[run]:
            if chunk := sent.get("files", {}).get(file):
                lines[chunk["offset"] :] = chunk["content"]
        return [json.loads(line) for line in lines]

    def exit_code(self, run: str) -> int:
        (code,) = (s["exitcode"] for s in self.streams[run] if s.get("complete"))
        return int(code)

    def answer(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((operation, given))
        if operation in self.refused:
            return {"errors": [{"message": self.refused[operation]}]}
        if operation == "UpsertBucket":
            owner = {"id": "e", "name": given.get("entity") or ENTITY}
            project = {"id": "p", "name": given["project"], "entity": owner}
            bucket = {"id": "b", "name": given["name"], "displayName": given["displayName"]}
            bucket |= {"config": given["config"], "historyLineCount": 0, "project": project}
            return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
        if operation == "Viewer":
            viewer = {"id": "u", "entity": ENTITY, "username": ENTITY, "teams": {"edges": []}}
            return {"data": {"viewer": viewer | {"flags": "{}"}}}
        if operation == "UpsertView2":
            view = {"id": "v", "name": given["name"]}
            return {"data": {"upsertView": {"view": view, "inserted": True}}}
        return {"errors": [{"message": f"{operation}: not served here"}]}


@contextmanager
def serve() -> Iterator[FakeWandb]:
    """A server at a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.reply({})

        def do_PUT(self) -> None:
            self.body()
            self.reply({})

        def do_POST(self) -> None:
            body = self.body()
            if self.path == "/graphql":
                asked = json.loads(body)
                operation = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
                name = operation.group(1) if operation else asked["query"]
                answer = fake.answer(name, asked.get("variables") or {})
                self.reply(answer, 400 if "errors" in answer else 200)
                return
            if self.path.endswith("/file_stream"):
                fake.streams.setdefault(self.path.split("/")[-2], []).append(json.loads(body))
            self.reply({})

        def body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def reply(self, content: dict[str, Any], code: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake = FakeWandb(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
