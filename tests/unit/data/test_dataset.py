"""Pairs as tensors: resizing, caching, order, jitter."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mia_lab.data.dataset import PairDataset, training_loader
from mia_lab.data.picture import Picture
from mia_lab.data.source import Pair
from mia_lab.data.transforms import Resizing, jitter
from mia_lab.types import PairBatch


class Counting:
    """Noise, and how often each pair was decoded."""

    def __init__(self) -> None:
        self.loads: list[str] = []

    def ids(self, subset: str) -> Sequence[str]:
        return [f"{subset}/{i}" for i in range(10)]

    def load(self, image_id: str) -> Pair:
        self.loads.append(image_id)
        rng = np.random.default_rng(int(image_id.split("/")[1]))
        x, y = rng.integers(0, 256, (2, 48, 40, 3), dtype=np.uint8)
        return Pair(Picture.of(x), Picture.of(y))

    def fingerprint(self, ids: Sequence[str]) -> str:
        return ""


def test_batches_are_float_rgb_in_order() -> None:
    source = Counting()
    pairs = PairDataset(source, source.ids("train"), 32)
    batches = list(pairs.batches(4))
    assert [len(b) for b in batches] == [4, 4, 2]
    assert sum((b.ids for b in batches), ()) == tuple(source.ids("train"))
    first = batches[0]
    assert first.x.shape == first.y.shape == (4, 3, 32, 32)
    assert first.x.dtype == torch.float32
    expected = source.load("train/0").y.image().resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(
        first.y[0].numpy(), np.asarray(expected).transpose(2, 0, 1) / 255, rtol=1e-6
    )


def test_pairs_are_decoded_once_for_all_subsets() -> None:
    source = Counting()
    pairs = PairDataset(source, source.ids("train"), 32)
    pairs.load("train/3")
    for subset in (pairs.subset(["train/3", "train/1"]), pairs):
        list(subset.batches(5))
        list(subset.batches(2))
    assert sorted(source.loads) == sorted(source.ids("train"))


def test_pairs_that_do_not_fit_are_decoded_again() -> None:
    source = Counting()
    pairs = PairDataset(source, source.ids("train"), 32, cache_bytes=3 * 6 * 32**2)
    once, twice = (next(pairs.batches(10)).y for _ in range(2))
    assert len(source.loads) == 10 + 7
    assert torch.equal(once, twice)


def test_training_order_depends_on_seed_and_epoch_alone() -> None:
    source = Counting()

    def order(seed: int, epoch: int) -> list[str]:
        pairs = PairDataset(source, source.ids("train"), 32)
        torch.manual_seed(len(source.loads))
        loader = training_loader(pairs, 3, seed)
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return [i for batch in loader for i in batch.ids]

    assert order(0, 1) == order(0, 1)
    assert sorted(order(0, 1)) == sorted(source.ids("train"))
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) not in (order(1, 1), order(1, 0))


def gradient(n: int = 64, size: int = 32) -> PairBatch:
    """x tells the column, y the row, so that a crop can be read off the pixels."""
    ramp = torch.linspace(0, 1, size)
    x = ramp.expand(n, 3, size, size)
    y = ramp[:, None].expand(n, 3, size, size)
    return PairBatch(tuple(map(str, range(n))), x, y)


def test_jitter_crops_and_mirrors_both_alike() -> None:
    batch = gradient()
    out = jitter(batch, 36 / 32, True, 0)
    assert out.x.shape == batch.x.shape
    mirrored = out.x[:, 0, 0, 0] > out.x[:, 0, 0, -1]
    assert 0.25 < mirrored.float().mean() < 0.75
    shift_x = torch.where(mirrored, out.x[:, 0, 0, -1], out.x[:, 0, 0, 0])
    shift_y = out.y[:, 0, 0, 0]
    for shift in (shift_x, shift_y):  # offsets 0..4 of 36 pixels are all there
        assert len(torch.unique((shift * 36).round())) == 5
    assert 0 <= out.x.min() <= out.x.max() <= 1


def test_jitter_moves_x_and_y_together() -> None:
    picture = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = PairBatch(tuple("abcdefgh"), picture, picture.clone())
    out = jitter(batch, 40 / 32, True, 1)
    assert torch.equal(out.x, out.y)
    assert not torch.allclose(out.x, picture)


def test_jitter_moves_labels_as_pictures() -> None:
    """A block of 8 pixels is wider than the blur of enlarging: its inside tells its class."""
    classes = torch.randint(0, 2, (8, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    classes = classes.repeat_interleave(8, 2).repeat_interleave(8, 3)
    encoded = torch.cat([classes == 0, classes == 1], 1).float()
    picture = classes.float().expand(-1, 3, -1, -1)
    batch = PairBatch(tuple("abcdefgh"), picture, picture, encoded)
    for load_size in (32, 40):
        out = jitter(batch, load_size / 32, True, 1)
        assert out.encoded is not None
        assert out.encoded.shape == encoded.shape
        assert not torch.equal(out.encoded, encoded)
        torch.testing.assert_close(out.encoded.sum(1), torch.ones(8, 32, 32))
        sure = (out.x[:, 0] - 0.5).abs() > 0.3
        assert sure.float().mean() > 0.6
        assert torch.equal(out.encoded[:, 1][sure], out.x[:, 0][sure].round())


def test_jitter_depends_on_seed_and_id_alone() -> None:
    batch = gradient(8)
    whole = jitter(batch, 36 / 32, True, 5)
    for chosen in ([6, 1, 3], [2], [7, 6, 5, 4, 3, 2, 1, 0]):
        ids = tuple(batch.ids[i] for i in chosen)
        part = jitter(PairBatch(ids, batch.x[chosen], batch.y[chosen]), 36 / 32, True, 5)
        assert torch.equal(part.x, whole.x[chosen])
        assert torch.equal(part.y, whole.y[chosen])
    assert not torch.equal(jitter(batch, 36 / 32, True, 6).y, whole.y)


def test_no_jitter_changes_nothing() -> None:
    batch = gradient(4)
    assert jitter(batch, 1.0, False, 0) is batch
    flipped = jitter(batch, 1.0, True, 0)
    same = torch.equal(flipped.y, batch.y)  # mirrored, not cropped
    assert same
    assert not torch.equal(flipped.x, batch.x)


def test_resize_keeps_bytes() -> None:
    picture = Image.fromarray(np.arange(3072, dtype=np.uint16).astype(np.uint8).reshape(32, 32, 3))
    np.testing.assert_array_equal(
        Resizing.of(32)(Picture.of(picture)), np.asarray(picture).transpose(2, 0, 1)
    )


class OfFiles(Counting):
    """A source that somebody else wrote: it names its files, and does not check what it decodes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def files(self, image_id: str) -> tuple[Path, ...]:
        return (self.path,)

    def fingerprint(self, ids: Sequence[str]) -> str:
        return self.path.read_text()


def test_a_fingerprint_is_taken_again_after_a_file_changed(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("one")
    pairs = PairDataset(OfFiles(file), ["train/0"], 32)
    assert pairs.fingerprint == "one"
    times = file.stat()
    file.write_text("two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert pairs.fingerprint == "two"
