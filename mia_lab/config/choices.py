"""The words that configuration keys choose from."""

from __future__ import annotations

from enum import Enum


class Task(Enum):
    """What the command does."""

    audit = "audit"
    check = "check"
    difficulty = "difficulty"
    score = "score"
    dataset_inference = "dataset_inference"
    canary = "canary"
    compare = "compare"
    collect = "collect"
    export = "export"
    store = "store"


class Until(Enum):
    """The stage after which an audit stops."""

    split = "split"
    victim = "victim"
    reconstructions = "reconstructions"
    references = "references"
    difficulty = "difficulty"
    attacks = "attacks"


class Layout(Enum):
    """How pairs lie in folders."""

    side_by_side = "side_by_side"
    two_folders = "two_folders"
    image_label = "image_label"


class InputEncoding(Enum):
    """What victims are given of an input: its picture, or its labels."""

    rgb = "rgb"
    one_hot = "one_hot"


class Direction(Enum):
    """Which picture of a pair is the input; A is the left half, or folder A."""

    AtoB = "AtoB"
    BtoA = "BtoA"


class Protocol(Enum):
    """How roles are assigned."""

    resplit = "resplit"
    official = "official"
    manifest = "manifest"


class Assignment(Enum):
    """How members are drawn: a fixed number of them, or each image by a fair coin."""

    fixed = "fixed"
    bernoulli = "bernoulli"


class Duplicates(Enum):
    """What becomes of identical pairs that have different roles."""

    error = "error"
    drop = "drop"
    keep = "keep"


class QueryMode(Enum):
    """The state a victim of ours answers in."""

    eval = "eval"
    train = "train"


class ReferencePool(Enum):
    """Which images reference victims are trained on, a random half each."""

    auxiliary = "auxiliary"
    all = "all"


class TrackingMode(Enum):
    """Where W&B records go."""

    offline = "offline"
    online = "online"
    disabled = "disabled"


class StoreAction(Enum):
    """What ``task=store`` does."""

    list = "list"
    verify = "verify"
    prune = "prune"


class StoreState(Enum):
    """What entries of the store are in."""

    stored = "stored"
    damaged = "damaged"
    unfinished = "unfinished"
    growing = "growing"


class CanaryAction(Enum):
    """What ``task=canary`` does."""

    draw = "draw"
    test = "test"


class CanaryKind(Enum):
    """How the twins of a canary differ."""

    watermark = "watermark"
    recolour = "recolour"


class CanaryPattern(Enum):
    """The shape of watermarks."""

    smooth = "smooth"
    blocks = "blocks"


class CanaryScore(Enum):
    """The attack whose error ranks the twins."""

    reconstruction = "reconstruction"
    l2 = "l2"
    ssim = "ssim"


class Combination(Enum):
    """How the p-values of several canaries become one."""

    fisher = "fisher"
    harmonic = "harmonic"
