"""A stand-in of the Kubeflow API that answers what its client asks and keeps what it was sent."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

START_S_MAX = 10.0
EXPERIMENT = {"experiment_id": "e-1", "display_name": "hft"}


@dataclass
class Kubeflow:
    """What was sent: each request's method, path, headers and JSON. `refuses` answers 403."""

    host: str
    sent: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    schedules: list[dict[str, Any]] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    refuses: bool = False

    def bodies(self, path: str) -> list[Any]:
        """What was posted to a path, in order."""
        return [body for method, at, _, body in self.sent if method == "POST" and at == path]

    async def answer(self, request: Request) -> JSONResponse:
        """Keep the request, and answer as the API does."""
        body: Any = await request.json() if request.method == "POST" else None
        path = request.url.path.removeprefix("/apis/v2beta1")
        self.sent.append((request.method, path, dict(request.headers), body))
        if self.refuses and request.method == "POST":
            return JSONResponse({"error": "forbidden"}, status_code=403)
        match request.method, path:
            case "GET", "/healthz":
                return JSONResponse({"multi_user": False})
            case "GET", "/experiments":
                return JSONResponse({"experiments": self.experiments})
            case "POST", "/experiments":
                self.experiments.append(EXPERIMENT)
                return JSONResponse(EXPERIMENT)
            case "POST", "/runs":
                return JSONResponse({**body, "run_id": "r-1"})
            case "GET", "/recurringruns":
                return JSONResponse({"recurringRuns": self.schedules})
            case "POST", "/recurringruns":
                made = {"recurring_run_id": "c-1", "display_name": body["display_name"]}
                self.schedules.append(made)
                return JSONResponse(made)
            case _:
                return JSONResponse({"error": f"no {path}"}, status_code=404)


@contextmanager
def kubeflow() -> Iterator[Kubeflow]:
    """A stand-in at an address of its own, while the block runs."""
    listening = socket.create_server(("127.0.0.1", 0))
    known = Kubeflow(f"http://127.0.0.1:{listening.getsockname()[1]}")
    route = Route("/{path:path}", known.answer, methods=["GET", "POST"])
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=[route]), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_S_MAX
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield known
    finally:
        server.should_exit = True
        thread.join(START_S_MAX)
        listening.close()
