"""The web server is reached from this machine alone, and by others through the proxy of docs/security.md."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "security.md"
_LISTENING = "0A"


@contextmanager
def started(*command: str, **options: object) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answer(url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def wait_for(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, "it ended"
        try:
            answer(url)
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"{url} does not answer")


def test_the_project_starts_it_for_this_machine_alone():
    import click
    from dagster._cli.dev import dev_command

    assert "\nHOST ?= 127.0.0.1\n" in (ROOT / "Makefile").read_text()
    (host,) = [option for option in dev_command.params if isinstance(option, click.Option) and "--host" in option.opts]
    assert not isinstance(host.default, str), "it hands on what the web server is told, which is nothing"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "one_asset.py").write_text(
        "import dagster as dg\n\n@dg.asset\ndef one():\n    pass\n\ndefs = dg.Definitions([one])\n"
    )
    (folder / "home").mkdir()
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "SYNTHVLM"))}
    with started(
        *(
            sys.executable,
            "-m",
            "dagster_webserver",
            "-f",
            "one_asset.py",
            "-p",
            str(port),
            "--path-prefix",
            "/dagster",
        ),
        cwd=folder,
        env=environment | {"DAGSTER_HOME": str(folder / "home"), "DAGSTER_DISABLE_TELEMETRY": "yes"},
    ) as process:
        wait_for(f"http://127.0.0.1:{port}/dagster/server_info", process)
        yield port, process


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="asks the Linux kernel")
def test_neither_it_nor_its_code_server_listens_for_others(server):
    port, process = server
    inodes = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            session = status.read_text().rpartition(")")[2].split()[3]
            if int(session) == process.pid:
                for descriptor in (status.parent / "fd").iterdir():
                    inodes.update(re.findall(r"socket:\[(\d+)\]", str(descriptor.readlink())))
        except OSError:
            continue
    places = {
        tuple(fields[1].split(":"))
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == _LISTENING and fields[9] in inodes
    }
    assert ("0100007F", f"{port:04X}") in places
    loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert {address for address, _ in places} <= loopback


@pytest.fixture
def proxy(server, tmp_path):
    """The document's nginx, with a port, a certificate and a user of its own."""
    if NGINX is None or shutil.which("openssl") is None:
        pytest.skip("needs nginx and openssl: apt-get install nginx-light openssl")
    port, key, certificate = free_port(), tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"),
            *("-keyout", str(key), "-out", str(certificate), "-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    password = subprocess.run(["openssl", "passwd", "-apr1", "secret"], check=True, capture_output=True, text=True)
    (tmp_path / "users").write_text(f"ada:{password.stdout}")
    [example] = re.findall(r"```nginx\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    for written, here in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/nginx/dagster.crt": str(certificate),
        "/etc/nginx/dagster.key": str(key),
        "/etc/nginx/dagster.users": str(tmp_path / "users"),
        "http://127.0.0.1:3000": f"http://127.0.0.1:{server[0]}",
        "https://dagster.example.org": f"https://localhost:{port}",
    }.items():
        assert written in example
        example = example.replace(written, here)
    temporary = "".join(
        f"{name}_temp_path {tmp_path}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/errors; {'user root;' if os.getuid() == 0 else ''}\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{example}}}\n"
    )
    with started(NGINX, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")) as process:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port, certificate


def test_through_the_proxy_a_password_opens_pages_graphql_and_live_logs(proxy, monkeypatch):
    import ssl

    port, certificate = proxy
    context = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(
        "urllib.request._opener", urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    )
    site, ada = f"https://localhost:{port}", "Basic " + base64.b64encode(b"ada:secret").decode()
    query = json.dumps({"query": "{ version }"}).encode()

    assert answer(f"{site}/dagster/graphql", query, **{"Content-Type": "application/json"})[0] == 401
    wrong = "Basic " + base64.b64encode(b"ada:guess").decode()
    assert answer(f"{site}/dagster/", Authorization=wrong)[0] == 401
    status, page = answer(f"{site}/dagster/", Authorization=ada)
    assert status == 200
    assert b'"pathPrefix": "/dagster"' in page
    told = {"Content-Type": "application/json", "Authorization": ada}
    status, content = answer(f"{site}/dagster/graphql", query, **told, Origin=site)
    assert (status, set(json.loads(content)["data"])) == (200, {"version"})
    assert answer(f"{site}/dagster/graphql", query, **told, Origin="https://evil.example")[0] == 403

    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as stream,
    ):
        stream.sendall(
            "GET /dagster/graphql HTTP/1.1\r\n"
            f"Host: localhost:{port}\r\nOrigin: {site}\r\nAuthorization: {ada}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n"
            "Sec-WebSocket-Protocol: graphql-ws\r\n\r\n".encode()
        )
        head = stream.recv(4096)
        assert head.startswith(b"HTTP/1.1 101 "), head
        # A text frame, masked with zeros.
        start = b'{"type":"connection_init","payload":{}}'
        stream.sendall(bytes([0x81, 0x80 | len(start)]) + bytes(4) + start)
        received = head.partition(b"\r\n\r\n")[2]
        while b"connection_ack" not in received:
            received += stream.recv(4096)
