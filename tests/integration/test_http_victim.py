"""An audit of a victim behind a URL: the real command against a real server."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import Tensor

from mia_lab.victims import http, http_server
from mia_lab.victims import server as server_module
from mia_lab.victims.answers import query_key
from mia_lab.victims.server import Server
from serving import serving
from support import Command


class Model:
    """Answers with its input, counts images, and can fail from some image on."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.fails_after = 10**9

    def translate(self, x: Tensor) -> Tensor:
        if len(self.seen) >= self.fails_after:
            raise RuntimeError("out of memory")
        self.seen.update(query_key(image, 0) for image in x)
        return x


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def server(model: Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(http, "BACK_OFF_S", 0.01)
    silent = logging.Logger("server", logging.CRITICAL + 1)  # it shares the command's stderr
    for module in (http_server, server_module):
        monkeypatch.setattr(module, "log", silent)
    with serving(Server(model.translate, 0)) as running:
        yield running


def manifest(folder: Path) -> str:
    """Six members and five others of the generated pictures."""
    path = folder / "roles.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "role"))
        writer.writerows((f"train/{i:06d}", "member") for i in range(6))
        writer.writerows((f"train/{i:06d}", "nonmember") for i in range(6, 11))
    return str(path)


def arguments(command: Command, server: Server) -> tuple[str, ...]:
    return (
        *("data.image_size=32", "trainer=cpu", "trainer.threads=1", "tracking.mode=disabled"),
        *("victim=http", f"victim.url={server.url}", "data.protocol=manifest"),
        *(f"data.manifest={manifest(command.folder)}", "query.batch_size=2", "victim.retries=1"),
        *("evaluation.permutations=20", "report.pictures=false"),
    )


def test_an_interrupted_audit_pays_for_no_answer_twice(
    command: Command, server: Server, model: Model
) -> None:
    model.fails_after = 8
    given = arguments(command, server)
    failed = command(*given)
    assert f"victim.url={server.url}: status 500" in failed.error
    assert "RuntimeError: out of memory" in failed.error
    assert "after 2 attempts; look into the server's log" in failed.error
    assert failed.error.endswith("run the same command again to continue (8 answers cached)")
    model.fails_after = 10**9
    metrics = command(*given).metrics
    assert metrics
    # Two images were queried alone, twice, and two more with them, to see if answers vary.
    assert sorted(model.seen.values()) == [1] * 7 + [2] * 2 + [4] * 2
    command(*given, "victim.retries=0", "victim.timeout_s=7")  # of no consequence to the answers
    assert sum(model.seen.values()) == 11 + 8


def test_nobody_there(command: Command, server: Server) -> None:
    given = arguments(command, server)
    server.server_close()
    error = command(*given).error
    assert "Connection refused), after 2 attempts; start the server or correct victim.url" in error


def test_the_token_is_in_no_file(
    command: Command, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VICTIM_TOKEN", "s3cret-of-the-audit")
    given = (*arguments(command, server), "tracking.mode=offline")
    ran = command(*given, "victim.token_variable=VICTIM_TOKEN")
    assert ran.code == 0, ran.err
    assert "s3cret" not in ran.out + ran.err
    files = [path for path in command.folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if b"s3cret-of-the-audit" in path.read_bytes()]
