"""Messages to a real HTTP server on this machine: one that takes them, refuses them, hangs, or is not there."""

import json
import logging
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from synthvlm_dagster.operations.notifications import webhook
from synthvlm_dagster.operations.notifications.webhook import WEBHOOK_VARIABLE, notify


class Server(ThreadingHTTPServer):
    """Answers as it is told, a status or a behaviour for each request, and keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int | str] = []
        self.received: list[dict] = []
        self.stop = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/T0/s3cret-path"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(json.loads(body))
        answer = self.server.answers.pop(0) if self.server.answers else 200
        if answer == "hang":
            self.server.stop.wait(30)
        elif answer == "drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not self.server.stop.wait(0.02):
                self.wfile.write(b"X: y\r\n")
        else:
            self.send_response(answer)
            self.send_header("Location", self.server.url)
            self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv(WEBHOOK_VARIABLE, server.url)
    monkeypatch.setattr(webhook, "_SECONDS_BETWEEN_TRIES", 0.0)
    monkeypatch.setattr(webhook, "_SECONDS_TO_ANSWER", 0.1)
    yield server
    server.stop.set()
    server.shutdown()
    server.server_close()


def test_a_message_has_title_text_and_fields(server, caplog):
    notify("A run failed", "It was shard 0003.", {"run": "ab12"})
    assert server.received == [
        {"title": "A run failed", "text": "A run failed\nIt was shard 0003.", "fields": {"run": "ab12"}}
    ]
    assert not caplog.records


@pytest.mark.parametrize(
    ("answers", "tries", "warning"),
    [
        ([500, 200], 2, None),
        ([429, 204], 2, None),
        ([500, 503], 2, "status 503"),
        ([404], 1, "status 404"),
        ([302], 1, "status 302"),
        (["hang", 200], 2, None),
        (["hang", "hang"], 2, "ReadTimeout"),
    ],
)
def test_what_can_pass_is_tried_once_more_and_nothing_is_raised(server, caplog, answers, tries, warning):
    server.answers = answers
    notify("A run failed", "")
    assert len(server.received) == tries
    assert bool(warning) == bool(caplog.records)
    if warning:
        assert warning in caplog.text
        assert "s3cret" not in caplog.text


def test_an_answer_without_end_is_not_waited_for(server, caplog, monkeypatch):
    server.answers = ["drip", "drip"]
    monkeypatch.setattr(webhook, "SECONDS_IN_ALL", 0.3)
    notify("A run failed", "")
    assert "no answer within 0.3 s" in caplog.text


def test_a_webhook_that_is_not_there_costs_a_warning(monkeypatch, caplog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv(WEBHOOK_VARIABLE, f"http://127.0.0.1:{unused.getsockname()[1]}/s3cret")
    monkeypatch.setattr(webhook, "_SECONDS_BETWEEN_TRIES", 0.0)
    notify("A run failed", "")
    assert "ConnectionError" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("url", ["not a url", "http://", "http://[::1", "ftp://127.0.0.1/x"])
def test_what_is_no_url_costs_a_warning(monkeypatch, caplog, url):
    monkeypatch.setenv(WEBHOOK_VARIABLE, url)
    monkeypatch.setattr(webhook, "_SECONDS_BETWEEN_TRIES", 0.0)
    notify("A run failed", "")
    assert "did not take the message" in caplog.text


def test_without_the_variable_nothing_happens(monkeypatch, caplog):
    monkeypatch.delenv(WEBHOOK_VARIABLE, raising=False)
    with caplog.at_level(logging.DEBUG):
        notify("A run failed", "")
    assert not caplog.records


def test_nobody_is_alerted_and_no_credentials_are_sent(server, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "abcd-efgh-ijkl")
    text = "<!channel> @here s3://user:pass@bucket/x?token=t0k3n abcd-efgh-ijkl " + "x" * 20_000
    notify("A run failed", text, {"link": "http://u:p@host/runs/1"})
    [message] = server.received
    for hidden in ("<!channel>", "@here", "pass", "t0k3n", "abcd-efgh-ijkl"):
        assert hidden not in message["text"]
    assert message["fields"] == {"link": "http://***@host/runs/1"}
    assert len(message["text"]) < 9_000
