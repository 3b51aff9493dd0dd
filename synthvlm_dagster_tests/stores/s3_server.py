"""moto's S3 server behind a proxy that fails on demand."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

BUCKET = "pairs"
SECRET = "hJ7secretOfTheS3TestsAndOfNothingElse42x"
KEY = "AKIASYNTHVLMTESTONLY"

Kind = Literal["500", "503", "slow", "cut", "lost"]
_ANSWERS = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
}


@dataclass
class Fault:
    """What happens to requests.

    Attributes:
        kind: `500` and `503` are answers; `slow` answers after `seconds`; `cut` ends an answer in the middle of its
            body; `lost` closes the connection in the middle of the request's body.
        method: of the requests.
        part: of the path and query; the others go through.
        times: requests that it happens to.
        seconds: for `slow`.
        happened: how often it has.
    """

    kind: Kind
    method: str
    part: str = ""
    times: float = float("inf")
    seconds: float = 0.0
    happened: int = 0


class Request(NamedTuple):
    """A request that was answered, and the length of the answer's body."""

    method: str
    path: str
    status: int
    length: int


@dataclass
class S3Server:
    """An S3 server.

    Attributes:
        url: of the proxy, without a slash at the end.
        faults: that happen now.
        requests: all since the server started; may be cleared.
    """

    url: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which AWS's own tools find the server."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run moto's server, empty but for `BUCKET`, and the proxy before it, on free ports of this machine."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    proxy = _Proxy(host, port)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        _make_bucket(host, port)
        yield proxy.served
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
        moto.stop()


def _make_bucket(host: str, port: int) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request("PUT", f"/{BUCKET}")
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"no bucket: {answer.read()!r}")
    connection.close()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.moto = (host, port)
        self.served = S3Server(f"http://127.0.0.1:{self.server_port}")
        self.guard = threading.Lock()

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are part of the tests."""

    def fault_of(self, method: str, path: str) -> Fault | None:
        """The fault that happens to a request, counted."""
        with self.guard:
            for fault in self.served.faults:
                if fault.method == method and fault.part in path and fault.happened < fault.times:
                    fault.happened += 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy

    def _answer(self) -> None:
        fault = self.server.fault_of(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if fault and fault.kind == "lost":
            self.rfile.read(length // 2)
            self._hang_up()
            return
        body = self.rfile.read(length)
        if fault and fault.kind in _ANSWERS:
            self._refuse(*_ANSWERS[fault.kind])
            return
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        self._forward(body, cut=fault is not None and fault.kind == "cut")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer  # noqa: N815

    def _forward(self, body: bytes, *, cut: bool) -> None:
        connection = http.client.HTTPConnection(*self.server.moto, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        self.server.served.requests.append(Request(self.command, urlsplit(self.path).path, answer.status, len(content)))
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if cut:
            self.wfile.write(content[: len(content) // 2])
            self._hang_up()
        elif self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, status: int, code: str, message: str) -> None:
        content = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.server.served.requests.append(Request(self.command, urlsplit(self.path).path, status, len(content)))
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
