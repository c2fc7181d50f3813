"""A whole audit against its physical limit, in one run, and its memory over many pairs.

The limit is what no audit of an existing model can leave out: decode each pair once, one pass of
the model over all inputs, one pass of the backbone over all inputs and one over all targets. Each
is measured alone, as fast as the package can do it. The audit is the command that users type, from
the start of Python to the written report, on the same files and the same exported U-Net.
"""

from __future__ import annotations

import json
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import shared
from benchmarks.streaming import peak_memory
from mia_lab.backbones.backbone import Backbone
from mia_lab.data.dataset import PairDataset
from mia_lab.data.pairs import FolderPairs
from mia_lab.data.procedural import render
from mia_lab.difficulty.features import prepare
from mia_lab.hardware import cores, in_order
from mia_lab.process import computing, keep_memory
from mia_lab.progress import progress, progress_bar
from mia_lab.victims.export import to_pt2
from mia_lab.victims.external import Exported
from mia_lab.victims.networks import UnitRange
from mia_lab.victims.networks.unet import UNet

BACKBONE = "tf_efficientnet_lite0"
QUERIES = 16
"""Images a query, the default of ``query.batch_size``."""


@dataclass(frozen=True)
class Case:
    """What is audited: members and non-members together, and the width of the U-Net."""

    pairs: int
    width: int = 32
    image_size: int = 256
    seed: int = 0


WHOLE = "audit: whole command"

LIMITED = Case(1000)
"""The audit that is compared with its limit."""

GROWING = (Case(200, 8), Case(2000, 8))
"""Audits whose memory is compared; a narrow victim, since its size adds the same to all."""


def measurements() -> Iterator[shared.Measurement]:
    yield asdict(LIMITED), partial(measure, LIMITED, against_limit=True)
    for case in GROWING:
        yield asdict(case), partial(measure, case)


def measure(case: Case, *, against_limit: bool = False) -> list[dict[str, Any]]:
    """Rows: what, its seconds, its CPU seconds, and the peak memory of a process in GB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pairs(case, folder / "pairs")
        make_victim(case, folder / "victim.pt2")
        audited = audit(case, folder)
        return [*(limit(case, folder) if against_limit else ()), *audited]


def make_pairs(case: Case, folder: Path) -> None:
    """Generated facades as files, input and target side by side; half of them in each part."""
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)

    def make(number: int) -> None:
        scene = render("facades", case.seed, number)
        both = Image.new("RGB", (2 * case.image_size, case.image_size))
        for place, side in enumerate((scene.target, scene.input)):
            both.paste(Image.fromarray(side), (place * case.image_size, 0))
        part = "train" if number < case.pairs // 2 else "test"
        both.save(folder / part / f"{number:05}.jpg", quality=95)

    for _ in progress(in_order(make, range(case.pairs)), "writing pairs", total=case.pairs):
        pass


def make_victim(case: Case, file: Path) -> None:
    """A U-Net with random weights as an exported program."""
    torch.manual_seed(case.seed)
    network = UNet(case.image_size, width=case.width)
    module = UnitRange(network, "rgb").eval()
    to_pt2(module, torch.rand(2, 3, case.image_size, case.image_size), file)


def limit(case: Case, folder: Path) -> list[dict[str, Any]]:
    """What no audit can leave out."""
    source = FolderPairs(str(folder / "pairs"), "side_by_side", "BtoA")
    pairs = PairDataset(source, [*source.ids("train"), *source.ids("test")], case.image_size)
    victim = Exported(str(folder / "victim.pt2"), "cpu")
    backbone = Backbone(BACKBONE, "packaged")
    torch.set_num_threads(cores())
    decoded = list(pairs.batches(QUERIES))  # what is measured next gets them from memory
    parts = [part for batch in decoded for part in batch.split(2)]

    def decode() -> None:
        fresh = PairDataset(source, pairs.ids, case.image_size, cache_bytes=0)
        for _ in fresh.batches(QUERIES):
            pass

    def ask() -> None:
        for batch in decoded:
            victim.translate(batch.x)

    def look(side: str) -> None:
        def maps(images: torch.Tensor) -> int:
            return len(backbone.features(prepare(images, "aligned", 56), [*backbone.blocks]))

        for _ in in_order(maps, (getattr(part, side) for part in parts)):
            pass

    work: dict[str, Callable[[], None]] = {
        "limit: decode each pair": decode,
        "limit: victim": ask,
        "limit: backbone over inputs": partial(look, "x"),
        "limit: backbone over targets": partial(look, "y"),
    }
    rows = []
    keep_memory()
    with progress_bar("measuring the limit", len(work), "parts") as bar:
        for what, function in work.items():
            with computing():
                rows.append({"what": what, **_timed(function), "peak_gb": ""})
            bar.update()
    return rows


def _timed(function: Callable[[], None]) -> dict[str, str]:
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    function()
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": f"{seconds:.4g}", "cpu_s": f"{spent:.4g}"}


def audit(case: Case, folder: Path) -> list[dict[str, Any]]:
    """The whole command, and the seconds of its stages."""
    command = [
        sys.executable, "-m", "mia_lab", "data=custom", f"data.root={folder / 'pairs'}",
        "data.direction=BtoA", f"data.image_size={case.image_size}", "data.protocol=official",
        "data.n_auxiliary=0", "victim=exported", f"victim.checkpoint={folder / 'victim.pt2'}",
        "trainer=cpu", "tracking.mode=disabled", f"paths.outputs={folder / 'outputs'}",
    ]  # fmt: skip
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True)
    peak = [0.0]
    peak_memory(process, peak)  # the kernel's own record of a child begins with its parent's
    seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(shlex.join(command))
    spent = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    total = {
        "what": WHOLE,
        "seconds": f"{seconds:.4g}",
        "cpu_s": f"{spent:.4g}",
        "peak_gb": f"{peak[0] / 1e9:.3g}",
    }
    (file,) = (folder / "outputs").rglob("metrics.json")
    stages = json.loads(file.read_text())["timing_s"]
    timed = [
        {"what": f"audit: {name}", "seconds": f"{s:.4g}", "cpu_s": "", "peak_gb": ""}
        for name, s in stages.items()
    ]
    return [total, *timed]
