"""A small HTTP server with the shape of an OpenAI endpoint, for the faults that a real one does not make on demand."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

QUESTION = "Is it good? <<{caption}>>"


@dataclass
class Reply:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    after_seconds: float = 0.0


def says(content: str | None, after_seconds: float = 0.0, finish_reason: str = "stop", **more: Any) -> Reply:
    message = {"role": "assistant", "content": content}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }
    return Reply(body=body | more, after_seconds=after_seconds)


def refuses(status: int, message: str = "no", **headers: str) -> Reply:
    return Reply(
        status, {"error": {"message": message, "type": "t"}}, {k.replace("_", "-"): v for k, v in headers.items()}
    )


class Endpoint:
    """What was asked of the server, and what it answers.

    Attributes:
        base_url: for the recipe.
        asked: how often each caption was asked about.
        times: when the requests came, in seconds.
        most_at_once: the largest number of requests that were under way together.
        requests: the requests' bodies.
        keys: the values of the Authorization header.
    """

    def __init__(self, answer: Callable[[str, int], Reply]) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self._under_way = 0
        self.closing = threading.Event()
        self.base_url = ""
        self.asked: Counter[str] = Counter()
        self.times: list[float] = []
        self.most_at_once = 0
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()

    def take(self, request: dict[str, Any], key: str | None) -> Reply:
        caption = re.search("<<(.*)>>", request["messages"][0]["content"], re.DOTALL)[1]
        with self._lock:
            self.times.append(time.monotonic())
            self.asked[caption] += 1
            times_asked = self.asked[caption]
            self.requests.append(request)
            self.keys.add(key)
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        reply = self._answer(caption, times_asked)
        self.closing.wait(reply.after_seconds)
        with self._lock:
            self._under_way -= 1
        return reply

    def wait_for_requests(self, count: int) -> None:
        while len(self.times) < count:
            time.sleep(0.01)


@contextmanager
def endpoint(answer: Reply | Callable[[str, int], Reply]) -> Iterator[Endpoint]:
    """Serve on a free local port.

    Args:
        answer: the reply to everything, or to a caption and how often it has been asked about, from 1.
    """
    served = Endpoint(answer if callable(answer) else lambda *_: answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = served.take(request, self.headers["Authorization"])
            plain = isinstance(reply.body, str)
            body = (reply.body if plain else json.dumps(reply.body)).encode()
            self.send_response(reply.status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **reply.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 512

        def handle_error(self, *_: object) -> None:
            """Clients that hang up are part of the tests."""

    server = Server(("127.0.0.1", 0), Handler)
    served.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        served.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
