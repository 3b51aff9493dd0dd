"""Pictures on a slow web server that counts what it is asked for."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ImageServer:
    """Serves bytes by path.

    Attributes:
        url: of the root, ends in a slash.
        asked: how often each path was asked for.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: Counter[str] = Counter()


@contextmanager
def image_server(pictures: Mapping[str, bytes], seconds: float) -> Iterator[ImageServer]:
    """Serve pictures by their names on a free local port, each after some seconds; other names are not found."""
    guard = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            with guard:
                served.asked[name] += 1
            time.sleep(seconds)
            picture = pictures.get(name)
            self.send_response(200 if picture else 404)
            self.send_header("Content-Length", str(len(picture or b"")))
            self.end_headers()
            self.wfile.write(picture or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Clients that are killed are part of the tests."""

    server = Server(("127.0.0.1", 0), Handler)
    served = ImageServer(f"http://127.0.0.1:{server.server_port}/")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
