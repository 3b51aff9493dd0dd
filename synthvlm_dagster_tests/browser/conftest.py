"""A real Dagster UI with its daemon, over a project that has made nothing yet, and a real Chromium to look at it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from synthvlm_dagster_tests.end_to_end.project import Project, make_project

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True)
class DagsterUI:
    """A running `dagster dev`."""

    url: str
    project: Project

    def query(self, text: str, **variables) -> dict:
        """Answer of the GraphQL API."""
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def wait_for(self, done, what: str, seconds: float = 300) -> None:
        """Wait until `done()` is true."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
            time.sleep(1)


@pytest.fixture(scope="module")
def ui(tmp_path_factory) -> Iterator[DagsterUI]:
    project = make_project(tmp_path_factory.mktemp("browser") / "project", captions=10)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (project.folder / "dagster-dev.log").open("w")
    # In a session of its own, so that the web server, the daemon and the code server all end with it.
    served = project.start(
        *("dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)),
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    running = DagsterUI(f"http://127.0.0.1:{port}", project)
    try:
        running.wait_for(lambda: _answers(running), "the web server", 180)
        yield running
    finally:
        os.killpg(served.pid, signal.SIGTERM)
        try:
            served.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(served.pid, signal.SIGKILL)
        finally:
            log.close()


def _answers(ui: DagsterUI) -> bool:
    try:
        return bool(ui.query("{ assetNodes { id } }")["assetNodes"])
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        yield launched
        launched.close()


@pytest.fixture
def page(browser):
    opened = browser.new_page(viewport={"width": 1400, "height": 900})
    opened.set_default_timeout(60_000)
    yield opened
    opened.close()


@pytest.fixture
def screenshot(page):
    """Keep what the page shows, for people to look at."""

    def keep(name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(1500)
        page.screenshot(path=SCREENSHOTS / f"{name}.png")

    return keep


@pytest.fixture
def faults(page):
    """What a page complains of, opens, or asks the network for."""
    found = []
    page.on("console", lambda message: found.append(message.text))
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("dialog", lambda dialog: (found.append(dialog.message), dialog.dismiss()))
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else found.append(request.url)
    )
    return found
