"""A PostgreSQL server of Debian's package, in a temporary folder, for as long as it is needed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSWORD = "pg:5ecret@OfTheTests%and&ofNothingElse"
USER = "dagster"
DATABASE = "dagster"


def postgres_commands() -> Path | None:
    """Folder of initdb and pg_ctl; None where PostgreSQL is not installed."""
    newest_first = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
    on_path = shutil.which("initdb")
    folders = [*newest_first, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


@dataclass
class PostgresServer:
    """A server with an empty database.

    Attributes:
        commands: folder of pg_ctl and psql.
        folder: of the server; the data is in `data`, what it says in `log`.
        port: on 127.0.0.1.
    """

    commands: Path
    folder: Path
    port: int

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which PostgreSQL's own tools find the database."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGDATABASE": DATABASE,
            "PGUSER": USER,
            "PGPASSWORD": PASSWORD,
        }

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off -c max_connections=60"
        self.type("pg_ctl", "-D", "data", "-l", "log", "-o", settings, "-w", "start")

    def stop(self) -> None:
        """Stop it at once: connections are lost, and what was committed is there after the next start."""
        self.type("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    def query(self, statement: str) -> str:
        """What psql prints for a statement, without a header, columns parted by a bar."""
        return self.type("psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, **self.environment)

    def type(self, command: str, *words: str, **environment: str) -> str:
        """Run one of PostgreSQL's commands in the server's folder; returns what it prints."""
        # pg_ctl's server would keep a pipe open for as long as it lives.
        with tempfile.TemporaryFile("w+") as output:
            outcome = subprocess.run(
                [str(self.commands / command), *words],
                cwd=self.folder,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                **_someone_else(),
            )
            output.seek(0)
            said = output.read()
        if outcome.returncode:
            raise RuntimeError(f"{command} {' '.join(words)}: {said}")
        return said


@contextmanager
def postgres_server(commands: Path) -> Iterator[PostgresServer]:
    """Run a server on a free port of this machine; its data is gone at the end."""
    # Not below pytest's folders, which nobody but their owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="synthvlm-postgres-"))
    server = PostgresServer(commands, folder, _free_port())
    try:
        (folder / "password").write_text(PASSWORD)
        if owner := _someone_else().get("user"):
            for path in (folder, folder / "password"):
                shutil.chown(path, owner)
        server.type("initdb", "-D", "data", "-U", USER, "-A", "scram-sha-256", "--pwfile=password", "-N", "-E", "UTF8")
        server.start()
        try:
            server.type("createdb", DATABASE, **(server.environment | {"PGDATABASE": "postgres"}))
            yield server
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _someone_else() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid():
        return {}
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in known else "nobody")
    return {"user": user.pw_name, "group": user.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
