"""What the reader of a page has on disk."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mia_lab.data.picture import Picture
from mia_lab.data.procedural.source import ProceduralPairs
from mia_lab.victims import http_server, server
from mia_lab.victims.server import Server
from pages import SERVICE
from published import Weights, unet
from serving import serving

SIDE = 32


class Blurred(nn.Module):
    """A model of images in [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 3, 1, 1)


def write_files(folder: Path, text: str) -> None:
    """The files that a page speaks of, and a service's model answers with."""
    pairs = ProceduralPairs("facades", "BtoA", seed=0, n_train=14, n_test=6)
    for part in ("train", "test"):
        for number, image in enumerate(pairs.ids(part), 1):
            pair = pairs.load(image)
            name = f"{number:04d}.png"
            _save(pair.x, folder / f"pairs/{part}A" / name)
            _save(pair.y, folder / f"pairs/{part}B" / name)
            if part == "train":
                _save(pair.x, folder / "pairs/scans" / name)
                _save(pair.y, folder / "pairs/photos" / name)
                _save(pair.y, folder / "answers" / name)
    roles = ["member"] * 6 + ["nonmember"] * 6 + ["auxiliary"] * 2
    with (folder / "roles.csv").open("w", newline="") as file:
        rows = [(f"train/{n:04d}", role) for n, role in enumerate(roles, 1)]
        csv.writer(file).writerows([("id", "role"), *rows])
    if "latest_net_G.pth" in text:
        weights = Weights("batch", bias=False)
        unet(weights, torch.zeros(2, 3, SIDE, SIDE), 5, 4)
        torch.save(weights.tensors, folder / "latest_net_G.pth")
    if "model.pt2" in text:
        program = torch.export.export(Blurred().eval(), (torch.zeros(2, 3, SIDE, SIDE),))
        torch.export.save(program, folder / "model.pt2")
    if "model.onnx" in text:
        torch.onnx.export(
            Blurred().eval(), (torch.zeros(1, 3, SIDE, SIDE),), folder / "model.onnx", verbose=False
        )
    if "victim=diffusers" in text:
        from tiny_pipelines import save_pipelines  # diffusers takes seconds to import

        save_pipelines(folder / "made", ["pix2pix"])
        (folder / "made" / "pix2pix").rename(folder / "pipeline")


def _save(picture: Picture, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.pixels).resize((SIDE, SIDE)).save(path)


@contextmanager
def served(text: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a service, if the page speaks of one, or else a port that is free."""
    for module in (http_server, server):
        monkeypatch.setattr(module, "log", logging.Logger("server", logging.CRITICAL + 1))
    with serving(Server(Blurred().forward, 0)) as running:
        port = running.server_address[1]
        if SERVICE in text:
            yield port
            return
    yield port
