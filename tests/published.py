"""The published networks written once more, in plain functions over named tensors.

Nothing here comes from the package: a network is a forward pass over a state dict in the key
layout of the reference repositories (pix2pix's ``UnetGenerator`` and ``ResnetGenerator``,
pix2pixHD's ``GlobalGenerator``, ``LocalEnhancer`` and ``MultiscaleDiscriminator``), and random
tensors for it. Norms: ``batch`` uses running statistics (the networks' eval mode), ``instance`` has
no tensors, ``affine`` is instance norm with weights and biases, ``none`` is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


@dataclass
class Weights:
    """Named tensors: drawn at random when first asked for, read when asked again.

    So that one forward pass both defines the key layout and computes the network.
    """

    norm: str
    bias: bool
    tensors: State = field(default_factory=dict)
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def _draw(self, key: str, shape: tuple[int, ...], low: float, high: float) -> Tensor:
        if key not in self.tensors:
            uniform = torch.rand(shape, generator=self.generator)
            self.tensors[key] = low + (high - low) * uniform
        return self.tensors[key]

    def _kernel(
        self, key: str, shape: tuple[int, ...], out: int, bias: bool | None
    ) -> tuple[Tensor, Tensor | None]:
        span = 2.0 / (shape[1] * shape[2] * shape[3]) ** 0.5
        weight = self._draw(f"{key}.weight", shape, -span, span)
        has_bias = self.bias if bias is None else bias
        return weight, self._draw(f"{key}.bias", (out,), -0.1, 0.1) if has_bias else None

    def conv(
        self, key: str, x: Tensor, out: int, kernel: int, stride: int = 1, pad: int = 0,
        bias: bool | None = None,
    ) -> Tensor:  # fmt: skip
        weight, b = self._kernel(key, (out, x.shape[1], kernel, kernel), out, bias)
        return F.conv2d(x, weight, b, stride, pad)

    def transposed(
        self, key: str, x: Tensor, out: int, kernel: int, out_pad: int = 0, bias: bool | None = None
    ) -> Tensor:
        weight, b = self._kernel(key, (x.shape[1], out, kernel, kernel), out, bias)
        return F.conv_transpose2d(x, weight, b, stride=2, padding=1, output_padding=out_pad)

    def normed(self, key: str, x: Tensor) -> Tensor:
        if self.norm == "instance":
            return F.instance_norm(x)
        if self.norm == "none":
            return x
        shape = (x.shape[1],)
        weight = self._draw(f"{key}.weight", shape, 0.5, 1.5)
        bias = self._draw(f"{key}.bias", shape, -0.5, 0.5)
        if self.norm == "affine":
            return F.instance_norm(x, weight=weight, bias=bias)
        mean = self._draw(f"{key}.running_mean", shape, -0.5, 0.5)
        variance = self._draw(f"{key}.running_var", shape, 0.5, 1.5)
        self.tensors.setdefault(f"{key}.num_batches_tracked", torch.tensor(7))
        return F.batch_norm(x, mean, variance, weight, bias)


def unet(w: Weights, x: Tensor, depth: int, ngf: int, out: int = 3) -> Tensor:
    """``UnetGenerator(num_downs=depth)``, dropout off."""

    def level(key: str, x: Tensor, outer: int, inner: int, number: int) -> Tensor:
        # number 1 lies within the outermost level, depth - 1 is the innermost.
        h = w.conv(f"{key}.model.1", F.leaky_relu(x, 0.2), inner, 4, 2, 1)
        if number == depth - 1:
            h, place = F.relu(h), 3
        else:
            h = w.normed(f"{key}.model.2", h)
            below = min(2 * inner, 8 * ngf)
            h, place = F.relu(level(f"{key}.model.3", h, inner, below, number + 1)), 5
        h = w.transposed(f"{key}.model.{place}", h, outer, 4)
        return torch.cat([x, w.normed(f"{key}.model.{place + 1}", h)], 1)

    h = w.conv("model.model.0", x, ngf, 4, 2, 1)
    h = level("model.model.1", h, ngf, 2 * ngf, 1)
    return w.transposed("model.model.3", F.relu(h), out, 4, bias=True).tanh()


def _reflect(x: Tensor, n: int) -> Tensor:
    return F.pad(x, (n, n, n, n), mode="reflect")


def _block(w: Weights, key: str, x: Tensor, dropout: bool) -> Tensor:
    second = 6 if dropout else 5
    h = w.conv(f"{key}.conv_block.1", _reflect(x, 1), x.shape[1], 3)
    h = F.relu(w.normed(f"{key}.conv_block.2", h))
    h = w.conv(f"{key}.conv_block.{second}", _reflect(h, 1), x.shape[1], 3)
    return x + w.normed(f"{key}.conv_block.{second + 1}", h)


def _features(
    w: Weights, x: Tensor, ngf: int, n_down: int, n_blocks: int, dropout: bool
) -> tuple[Tensor, int]:
    """All of a residual generator but its last padding, convolution and tanh."""
    h = F.relu(w.normed("model.2", w.conv("model.1", _reflect(x, 3), ngf, 7)))
    place = 4
    for _ in range(n_down):
        h = w.conv(f"model.{place}", h, 2 * h.shape[1], 3, 2, 1)
        h = F.relu(w.normed(f"model.{place + 1}", h))
        place += 3
    for _ in range(n_blocks):
        h = _block(w, f"model.{place}", h, dropout)
        place += 1
    for _ in range(n_down):
        h = w.transposed(f"model.{place}", h, h.shape[1] // 2, 3, out_pad=1)
        h = F.relu(w.normed(f"model.{place + 1}", h))
        place += 3
    return h, place


def resnet(
    w: Weights, x: Tensor, ngf: int, n_down: int, n_blocks: int, dropout: bool = False, out: int = 3
) -> Tensor:
    """``ResnetGenerator`` (two downsamplings) and ``GlobalGenerator``, dropout off."""
    h, place = _features(w, x, ngf, n_down, n_blocks, dropout)
    return w.conv(f"model.{place + 1}", _reflect(h, 3), out, 7, bias=True).tanh()


def _halved(x: Tensor) -> Tensor:
    """Means of 3 x 3 windows over the pixels that exist, every second one."""
    return F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)


def local_enhancer(
    w: Weights, x: Tensor, ngf: int, n_down: int, n_blocks: int, n_local: int, n_local_blocks: int
) -> Tensor:
    """``LocalEnhancer``."""
    images = [x]
    for _ in range(n_local):
        images.append(_halved(images[-1]))
    h, _ = _features(w, images[n_local], ngf * 2**n_local, n_down, n_blocks, dropout=False)
    for n in range(1, n_local + 1):
        width = ngf * 2 ** (n_local - n)
        down, up = f"model{n}_1", f"model{n}_2"
        fine = w.conv(f"{down}.1", _reflect(images[n_local - n], 3), width, 7)
        fine = F.relu(w.normed(f"{down}.2", fine))
        fine = w.conv(f"{down}.4", fine, 2 * width, 3, 2, 1)
        h = F.relu(w.normed(f"{down}.5", fine)) + h
        for i in range(n_local_blocks):
            h = _block(w, f"{up}.{i}", h, dropout=False)
        h = w.transposed(f"{up}.{n_local_blocks}", h, width, 3, out_pad=1)
        h = F.relu(w.normed(f"{up}.{n_local_blocks + 1}", h))
    return w.conv(f"model{n_local}_2.{n_local_blocks + 4}", _reflect(h, 3), 3, 7).tanh()


def patchgan(w: Weights, x: Tensor, ndf: int) -> Tensor:
    """pix2pix's ``NLayerDiscriminator`` with three layers."""
    h = F.leaky_relu(w.conv("model.0", x, ndf, 4, 2, 1, bias=True), 0.2)
    for place, factor, stride in ((2, 2, 2), (5, 4, 2), (8, 8, 1)):
        h = w.conv(f"model.{place}", h, factor * ndf, 4, stride, 1)
        h = F.leaky_relu(w.normed(f"model.{place + 1}", h), 0.2)
    return w.conv("model.11", h, 1, 4, 1, 1, bias=True)


def multiscale(w: Weights, x: Tensor, ndf: int, num_d: int) -> list[list[Tensor]]:
    """``MultiscaleDiscriminator`` with three layers, ``getIntermFeat``."""
    results = []
    for i in range(num_d):
        scale = f"scale{num_d - 1 - i}_layer"
        outputs = [F.leaky_relu(w.conv(f"{scale}0.0", x, ndf, 4, 2, 2), 0.2)]
        for j, stride in ((1, 2), (2, 2), (3, 1)):
            h = w.conv(f"{scale}{j}.0", outputs[-1], min(ndf * 2**j, 512), 4, stride, 2)
            outputs.append(F.leaky_relu(w.normed(f"{scale}{j}.1", h), 0.2))
        outputs.append(w.conv(f"{scale}4.0", outputs[-1], 1, 4, 1, 2))
        results.append(outputs)
        x = _halved(x)
    return results
