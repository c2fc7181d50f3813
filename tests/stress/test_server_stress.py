"""The example server between clients that behave and clients that do not."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
from torch import Tensor, nn

from hostile_clients import KINDS
from mia_lab.victims.files import export
from mia_lab.victims.http import Http
from mia_lab.victims.networks.unet import UNet

MOST_MIB = 1500
SIZE = 32


class Behaved(threading.Thread):
    """A client that repeats a few requests of its own, and compares the answers."""

    def __init__(self, url: str, network: nn.Module, seed: int, end: float) -> None:
        super().__init__(daemon=True)
        self._box = Http(url, encoding="npy")
        self._end = end
        draw = torch.Generator().manual_seed(seed)
        x = torch.rand(3, 2, 3, SIZE, SIZE, generator=draw)
        with torch.inference_mode():
            self._pairs = [(batch, (network(2 * batch - 1) + 1) / 2) for batch in x]
        self.waits: list[float] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        while time.monotonic() < self._end:
            x, y = random.choice(self._pairs)
            start = time.monotonic()
            try:
                self._compare(self._box.translate(x), y)
            except Exception as error:
                self.wrong.append(str(error))
            self.waits.append(time.monotonic() - start)

    def _compare(self, answer: Tensor, y: Tensor) -> None:
        torch.testing.assert_close(answer, y, rtol=0, atol=1e-6)


@contextmanager
def process(*arguments: str, errors: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    with (
        errors.open("w") as file,
        subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=environment,
        ) as started,
    ):
        try:
            yield started
        finally:
            started.kill()


def line(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    return started.stdout.readline().strip()


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def stress(folder: Path, seconds: float, behaved: int, hostile: int) -> None:
    torch.manual_seed(0)
    network = UNet(image_size=SIZE, in_channels=3, out_channels=3, width=4).eval()
    weights = folder / "victim.safetensors"
    export(network, weights)
    command = ("-m", "mia_lab.victims.server", str(weights), "--image-size", str(SIZE))
    script = str(Path(__file__).parent.with_name("hostile_clients.py"))
    log = folder / "log"
    with (
        process(script, str(hostile), str(seconds), errors=folder / "hostile") as attackers,
        process(*command, "--port", "0", errors=log) as server,
    ):
        url = line(server).removeprefix("serving at ")
        first = peak_mib(server.pid)
        assert line(attackers) == "ready"
        assert attackers.stdin is not None
        print(urlsplit(url).port, file=attackers.stdin, flush=True)
        end = time.monotonic() + seconds
        clients = [Behaved(url, network, seed, end) for seed in range(behaved)]
        for client in clients:
            client.start()
        attempts = json.loads(line(attackers))
        for client in clients:
            client.join(120)
        peak = peak_mib(server.pid)
        assert server.poll() is None
    waits = [wait for client in clients for wait in client.waits]
    wrong = [text for client in clients for text in client.wrong]
    figures = (
        f"{behaved} clients: {len(waits)} answers, {len(wrong)} wrong, longest wait "
        f"{max(waits):.1f} s, {min(len(client.waits) for client in clients)} for the slowest\n"
        f"{hostile} hostile clients: {attempts}\n"
        f"memory: {first:.0f} MiB before, at most {peak:.0f} MiB"
    )
    print(figures)
    assert not wrong, wrong[0]
    assert all(client.waits for client in clients)
    assert len(attempts) == min(hostile, len(KINDS))
    assert peak < MOST_MIB, figures
    text = log.read_text()
    assert "Traceback" not in text
    assert "the request failed" not in text
    assert not re.search(r"[^\n -~]", text)


@pytest.mark.slow
def test_hostile_clients_for_some_seconds(tmp_path: Path) -> None:
    stress(tmp_path, 4, 8, len(KINDS))


@pytest.mark.slow
def test_hostile_clients_for_a_minute(tmp_path: Path) -> None:
    stress(tmp_path, 60, 50, 50)
