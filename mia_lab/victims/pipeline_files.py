"""What a folder with a pipeline of the library diffusers may hold, before any of it is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mia_lab.errors import UserError, nearest_folder, one_line
from mia_lab.store.content import files_below
from mia_lab.victims.extras import library

INDEX = "model_index.json"
"""The file that names the class of a pipeline and of its components."""

PICKLED = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
"""Weights that Python's pickle reads, which may run code."""

CONFIGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json")
"""Files of a component that could name code."""

NOT_LOADED = ("safety_checker",)
"""Components that no answer is made with."""

LIBRARIES = ("diffusers", "transformers")

diffusers_library = partial(library, victim="diffusers", extra="diffusers")
"""The modules that a pipeline needs."""


def pipeline_class(folder: Path) -> Any:
    """The class of the pipeline in a folder, if all of it can be loaded without running its code.

    Args:
        folder: as ``save_pretrained`` of a pipeline writes it.

    Raises:
        UserError: the folder holds no pipeline, lacks a part of it, holds code or pickled weights,
            or names a class that is none of diffusers or transformers.
    """
    key, index = f"victim.checkpoint={folder}", _index(folder)
    files = files_below(folder, Path.is_file, hidden=False)
    if code := [path for path in files if path.suffix == ".py"]:
        raise UserError(
            f"{key}: holds code ({code[0].relative_to(folder)}), which is never run; remove it if "
            "the pipeline needs none, or wrap the model in a class of your own (victim=custom)"
        )
    for name, (library_name, class_name) in _components(index):
        if name not in NOT_LOADED:
            _check_component(key, folder, name, library_name, class_name)
    return _class_of_pipeline(key, index.get("_class_name"))


def _index(folder: Path) -> Mapping[str, Any]:
    key = f"victim.checkpoint={folder}"
    if folder.is_file():
        raise UserError(
            f"{key}: is a file, and a pipeline is a folder; load the file where you trust it and "
            "save it with pipe.save_pretrained(DIR)"
        )
    if not folder.is_dir():
        raise UserError(
            f"{key}: no such folder; nothing is downloaded, so fetch the pipeline first, such as "
            f"with hf download NAME --local-dir DIR{nearest_folder(folder)}"
        )
    try:
        found = json.loads((folder / INDEX).read_text())
    except FileNotFoundError as error:
        raise UserError(
            f"{key}: has no file {INDEX}; give the folder that pipe.save_pretrained(DIR) writes"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: {INDEX} cannot be read ({one_line(str(error))})") from error
    if not isinstance(found, dict):
        raise UserError(f"{key}: {INDEX} holds no object; save the pipeline again")
    return found


def _components(index: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The name of each component with its library and class; those that are null are left out."""
    for name, value in index.items():
        is_pair = isinstance(value, list) and len(value) == 2
        if not name.startswith("_") and is_pair and all(isinstance(v, str) for v in value):
            yield name, (value[0], value[1])


def _check_component(key: str, folder: Path, name: str, library_name: str, class_name: str) -> None:
    _check_class(key, name, library_name, class_name)
    place = folder / name
    if not place.is_dir():
        raise UserError(
            f"{key}: lacks the folder {one_line(name)} of its {one_line(class_name)}; nothing is "
            "downloaded, so copy the whole pipeline"
        )
    suffixes = {path.suffix for path in place.iterdir()}
    pickled = sorted(suffixes & {*PICKLED})
    if pickled and ".safetensors" not in suffixes:
        raise UserError(
            f"{key}: the weights of {name} are pickled ({', '.join(pickled)}), and loading them "
            "may run code; convert them in a place that you trust: load the pipeline there and "
            "call pipe.save_pretrained(DIR, safe_serialization=True)"
        )
    if (place / "adapter_config.json").exists():
        raise UserError(
            f"{key}: {name} holds an adapter beside its weights (adapter_config.json), whose base "
            "may be elsewhere; merge it before you save the pipeline, or give it as victim.lora"
        )
    for path in (place / config for config in CONFIGS):
        if path.is_file() and b'"auto_map"' in path.read_bytes():
            raise UserError(
                f"{key}: {name}/{path.name} names code (auto_map), which is never run; wrap the "
                "model in a class of your own (victim=custom)"
            )


def _check_class(key: str, name: str, library_name: str, class_name: str) -> None:
    """Refuse a component whose class belongs to another library, or loads what it is told to."""
    refused = UserError(
        f"{key}: its {one_line(name)} is of the class {one_line(library_name)}."
        f"{one_line(class_name)}, and only parts of diffusers and transformers are loaded; wrap "
        "the model in a class of your own (victim=custom)"
    )
    pipelines = diffusers_library("diffusers").pipelines
    try:
        if library_name in LIBRARIES:
            module = diffusers_library(library_name)
        else:
            module = getattr(pipelines, library_name)
        kind = getattr(module, class_name, None)
    except (AttributeError, ImportError, RuntimeError) as error:
        raise refused from error
    if kind is None and library_name == "transformers":
        return  # a class of an older version, for which diffusers knows the present one
    path = str(getattr(kind, "__module__", "")).split(".")
    is_auto = {"auto", "auto_model"} & {*path}
    if not isinstance(kind, type) or path[0] not in LIBRARIES or is_auto:
        raise refused
    if issubclass(kind, diffusers_library("diffusers").DiffusionPipeline):
        raise refused


def _class_of_pipeline(key: str, name: object) -> Any:
    diffusers = diffusers_library("diffusers")
    if name == "TranslationPipeline":
        from mia_lab.victims.translation_pipeline import TranslationPipeline

        return TranslationPipeline
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, diffusers.DiffusionPipeline)):
        raise UserError(
            f"{key}: is a {one_line(str(name))}, which is no pipeline of diffusers "
            f"{diffusers.__version__}; install the version that it was saved with, or wrap the "
            "model in a class of your own (victim=custom)"
        )
    if kind._load_connected_pipes:  # type: ignore[attr-defined]
        raise UserError(
            f"{key}: a {name} is made of several pipelines, which are looked for elsewhere; give "
            "the folder of one that takes an image"
        )
    return kind
