"""Templates of victims: a model that exists already, and a model that mia_lab trains."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mia_lab.types import PairBatch


class MyBlackBox:
    """A model that exists already. Attacks only see the answers of `translate`.

    Every argument is a key of ``conf/victim/my_black_box.yaml``, checked against its annotation. An
    argument that names a file counts by the content of the file, so a new model under the old name
    is a new victim.
    """

    def __init__(self, brightness: float) -> None:
        # Load your weights here, move the model to its device, call eval().
        self.brightness = brightness

    def translate(self, x: Tensor) -> Tensor:
        """Translate float32 (N, C, H, W) to float32 (N, C, H, W), both in [0, 1] and on the CPU."""
        return (x * self.brightness).clamp(0, 1)


class MyTrainedVictim(pl.LightningModule):
    """A model that mia_lab trains on the members: here a few convolutions with an L1 loss.

    It needs the hyper-parameters ``epochs``, ``batch_size`` and ``seed``; a submodule
    ``generator``, which is exported; a ``forward`` from [0, 1] to [0, 1]; training steps on
    `PairBatch`. Randomness must follow from the seed, the epoch and the batch, so that an
    interrupted training resumes exactly (see `mia_lab.victims.pix2pix`).
    """

    def __init__(self, width: int, epochs: int, batch_size: int, seed: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = nn.Sequential(
                nn.Conv2d(3, width, 5, padding=2),
                nn.ReLU(),
                nn.Conv2d(width, 3, 5, padding=2),
                nn.Sigmoid(),
            )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.generator(x)
        return out

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        loss = F.l1_loss(self(batch.x), batch.y)
        self.log("l1", loss, on_step=False, on_epoch=True, batch_size=len(batch))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-3)
