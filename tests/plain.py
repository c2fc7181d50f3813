"""What the package computes, written once more the plain way: all columns, float64, no torch."""

from functools import cache
from itertools import combinations

import numpy as np
import scipy.linalg
import torch
from skimage.transform import resize
from sklearn.linear_model import Ridge
from timm.models import adapt_input_conv

from mia_lab.backbones.backbone import Backbone
from mia_lab.difficulty.columns import compact_factor, make_columns
from mia_lab.difficulty.features import extract, prepare
from mia_lab.difficulty.probe import fit_least_squares, fit_ridge, normal_equations, predict
from mia_lab.difficulty.protocol import pixel_order
from mia_lab.difficulty.score import FactorBatch
from mia_lab.types import PairBatch

PENALTIES = (1e-2, 1.0, 1e2, 1e4)
SUBSETS = [s for n in (1, 2, 3, 4) for s in combinations(range(4), n)]


def upsampled(features, grid):
    """(C, h, w) to its (grid * grid, C) columns."""
    image = np.asarray(features, dtype=np.float64).transpose(1, 2, 0)
    return resize(image, (grid, grid), order=1, mode="reflect").reshape(grid * grid, -1)


def rows(image):
    """(T, G, G) to one row a pixel, in float64."""
    return np.asarray(image, dtype=np.float64).reshape(len(image), -1).T


def train_pixels(image_id, seed, n_pixels, repeat=0):
    """The 70 % that a holdout fits on."""
    train = np.zeros(n_pixels, dtype=bool)
    train[pixel_order(image_id, seed, n_pixels, repeat)[: round(0.7 * n_pixels)]] = True
    return train


def ridge_predictions(columns, targets, train, penalties):
    """scikit-learn's Ridge at every pixel: (L, P, T), fitted in one go."""
    n_targets = targets.shape[1]
    model = Ridge(alpha=np.repeat(penalties, n_targets))
    model.fit(columns[train], np.tile(targets[train], len(penalties)))
    found = model.predict(columns).reshape(len(columns), len(penalties), n_targets)
    return found.transpose(1, 0, 2)


def least_norm(columns, targets, train, cutoff=1e-6):
    """scipy's least squares at every pixel, its rank and its singular values."""
    mean, target_mean = columns[train].mean(axis=0), targets[train].mean(axis=0)
    weights, _, rank, singular = scipy.linalg.lstsq(
        columns[train] - mean, targets[train] - target_mean, cond=cutoff
    )
    return (columns - mean) @ weights + target_mean, rank, singular


def near_cutoff(singular, cutoff=1e-6):
    """How many singular values lie within a factor of ten of the cut-off."""
    share = singular / singular[0] if singular[0] > 0 else singular
    return int(np.sum((share > cutoff / 10) & (share < cutoff * 10)))


def difference(found, wanted):
    """Norm of the difference over the norm."""
    found, wanted = np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    return np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-300)


class Probe:
    """The package's probe on B images, all blocks at once."""

    def __init__(self, features, target, train, dtype=torch.float64):
        maps = [torch.as_tensor(np.asarray(f)) for f in features]
        target = torch.as_tensor(np.asarray(target)).to(dtype)
        self.columns = make_columns([compact_factor(m) for m in maps], target.shape[-1], dtype)
        self.targets = target.flatten(2).transpose(1, 2)
        self.train = torch.as_tensor(train)
        self.equations = normal_equations(self.columns, self.targets, self.train)

    def _part(self, blocks):
        return self.equations.subset([self.columns.slices()[b] for b in blocks])

    def ridge(self, blocks, ridge):
        """Predictions (B, L, P, T) and penalties (B, L)."""
        fit = fit_ridge(self._part(blocks), ridge)
        return predict(self.columns, blocks, fit).numpy(), fit.penalty.numpy()

    def least_squares(self, blocks):
        """Predictions (B, P, T) and ranks (B,)."""
        fit = fit_least_squares(self.columns, blocks, self.targets, self.train)
        return predict(self.columns, blocks, fit)[:, 0].numpy(), fit.rank.numpy()


def as_tensor(pixels):
    """Bytes (H, W) or (H, W, C) to float32 (1, C, H, W) in [0, 1]."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def adapted_maps(images):
    """The four blocks of EfficientNet-Lite0 of (N, C, H, W) in [0, 1], adapted by timm's rule."""
    with torch.inference_mode():  # its mean and deviation are 0.5 for all channels
        maps = adapted_lite0(images.shape[1]).forward_intermediates(
            (images - 0.5) / 0.5, intermediates_only=True
        )
    return maps[1:]


@cache
def adapted_lite0(channels):
    model = Backbone("tf_efficientnet_lite0", "packaged").model
    weight = adapt_input_conv(channels, model.conv_stem.weight.detach())
    model.conv_stem.weight = torch.nn.Parameter(weight)
    return model


def probe_error(maps, target, image_id, grid, ridge=1.0, seed=0):
    """Eq. 2 from feature maps (1, C_k, h, w) and a target (T, H, W): ridge, holdout, L1."""
    columns = np.concatenate([upsampled(m[0].numpy(), grid) for m in maps], axis=1)
    image = np.asarray(target, dtype=np.float64).transpose(1, 2, 0)
    targets = resize(image, (grid, grid), order=1, mode="reflect", anti_aliasing=True)
    targets = targets.reshape(grid * grid, -1)
    train = train_pixels(image_id, seed, grid * grid)
    (found,) = ridge_predictions(columns, targets, train, [ridge])
    return np.abs(found - targets)[~train].mean()


class NetworkCase:
    """One generated pair through one backbone: its factors, and its columns in full."""

    def __init__(self, backbone, scene):
        pair = PairBatch(("facade",), as_tensor(scene.input), as_tensor(scene.target))
        self.maps = backbone.features(prepare(pair.x, "aligned", 56), (1, 2, 3, 4))
        self.batch: FactorBatch = extract(backbone, pair, (1, 2, 3, 4))
        self.columns = [upsampled(m[0].numpy(), 56) for m in self.maps]
        self.target = self.batch.target.numpy()
        self.rows = rows(self.target[0])
        self.train = train_pixels("facade", 0, 56 * 56)

    def full(self, blocks):
        return np.concatenate([self.columns[b] for b in blocks], axis=1)
