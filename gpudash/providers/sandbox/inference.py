"""A small model server, so that there is something to reach: health, a list of models, and made-up completions."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "sandbox-echo"
MAX_BODY = 1 << 20


class InferenceServer(ThreadingHTTPServer):
    """Serves on a socket that already listens. It answers 503 until it is warm, as a server does that loads weights."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, host_name: str, warmup_s: float) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.host_name = host_name
        self._warm_at = time.monotonic() + warmup_s

    @property
    def is_warm(self) -> bool:
        return time.monotonic() >= self._warm_at

    def start(self) -> None:
        """Serve in a thread that sleeps while nobody asks."""
        threading.Thread(target=self._serve, name="inference", daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event."""

    def _serve(self) -> None:
        while self.socket.fileno() >= 0:
            self.handle_request()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 60
    server: InferenceServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/health":
            warm = self.server.is_warm
            self._answer(200 if warm else 503, {"status": "ok" if warm else "loading", "model": MODEL})
        elif path == "/v1/models":
            self._answer(200, {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "sandbox"}]})
        elif path == "/":
            self._answer(200, {"host": self.server.host_name, "model": MODEL})
        else:
            self._answer(404, {"error": {"message": f"no such path: {path}"}})

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return
        if self.path not in ("/v1/completions", "/v1/chat/completions"):
            self._answer(404, {"error": {"message": f"no such path: {self.path}"}})
        elif not self.server.is_warm:
            self._answer(503, {"error": {"message": "the model is loading"}})
        else:
            self._answer(200, _completion(body, chat=self.path.endswith("chat/completions")))

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged: the host's log is for what goes wrong."""

    def _body(self) -> dict[str, object] | None:
        try:
            length = int(self.headers.get("Content-Length") or 0)
            if not 0 <= length <= MAX_BODY:
                raise ValueError("the body is too long")
            body = json.loads(self.rfile.read(length) or b"{}")
            if not isinstance(body, dict):
                raise ValueError("the body is no object")
        except ValueError as exc:
            self.close_connection = True
            self._answer(400, {"error": {"message": str(exc)}})
            return None
        return body

    def _answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()


def _completion(body: dict[str, object], *, chat: bool) -> dict[str, object]:
    prompt = body.get("prompt", "")
    if chat:
        messages = body.get("messages")
        last = messages[-1] if isinstance(messages, list) and messages else {}
        prompt = last.get("content", "") if isinstance(last, dict) else ""
    text = f"You said: {prompt}"
    choice: dict[str, object] = {"index": 0, "finish_reason": "stop"}
    choice["message" if chat else "text"] = {"role": "assistant", "content": text} if chat else text
    tokens = len(str(prompt).split())
    return {
        "object": "chat.completion" if chat else "text_completion",
        "model": MODEL,
        "choices": [choice],
        "usage": {"prompt_tokens": tokens, "completion_tokens": tokens + 2, "total_tokens": 2 * tokens + 2},
    }
