"""A hub of models on this machine, as far as huggingface_hub asks for it when a repository is downloaded."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Hub:
    """One repository with one commit.

    Attributes:
        url: what HF_ENDPOINT must be.
        fetched: names of the files that were downloaded, in order.
    """

    def __init__(self, repository: str, folder: Path, commit: str, branch: str) -> None:
        self.repository, self.folder, self.commit, self.branch = repository, folder, commit, branch
        self.fetched: list[str] = []
        self.url = ""

    def files(self) -> dict[str, Path]:
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in found}


@contextmanager
def serve_hub(repository: str, folder: Path, *, commit: str, branch: str = "main") -> Iterator[Hub]:
    """Serve a folder as a repository, at a free port.

    Args:
        repository: id, `organisation/name`.
        folder: its files.
        commit: 40 hexadecimal digits.
        branch: what points to the commit.
    """
    hub = Hub(repository, folder, commit, branch)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def _answer(self, *, with_body: bool) -> None:
        hub = self.hub
        path = self.path.partition("?")[0]
        if told := re.fullmatch(rf"/api/models/{hub.repository}(?:/(revision|tree)/([^/]+))?", path):
            kind, revision = told.groups()
            if revision not in (None, hub.branch, hub.commit):
                self._send(404, b"", {"X-Error-Code": "RevisionNotFound"}, with_body=with_body)
            else:
                content = self._tree() if kind == "tree" else self._info()
                self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"}, with_body=with_body)
            return
        asked = re.fullmatch(rf"/{hub.repository}/resolve/({hub.branch}|{hub.commit})/(.+)", path)
        file = hub.files().get(asked.group(2)) if asked else None
        if asked is None or file is None:
            code = "EntryNotFound" if asked else "RepoNotFound"
            self._send(404, b"", {"X-Error-Code": code, "X-Repo-Commit": hub.commit}, with_body=with_body)
            return
        if with_body:
            hub.fetched.append(asked.group(2))
        content = file.read_bytes()
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": hub.commit}
        self._send(200, content, headers, with_body=with_body)

    def _info(self) -> dict[str, object]:
        names = [{"rfilename": name} for name in self.hub.files()]
        return {"id": self.hub.repository, "modelId": self.hub.repository, "sha": self.hub.commit, "siblings": names}

    def _tree(self) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": name, "size": path.stat().st_size, "oid": hashlib.sha1(name.encode()).hexdigest()}
            for name, path in self.hub.files().items()
        ]

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, with_body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)
