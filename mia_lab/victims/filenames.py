"""What the files of a trained victim are called; free of PyTorch."""

from __future__ import annotations

GENERATOR_FILE = "victim.safetensors"
CHECKPOINT_FILE = "victim.ckpt"
LOSSES_FILE = "losses.csv"


def snapshot_file(epoch: int) -> str:
    """Where the generator after an epoch (from 1) is kept, within the victim's folder."""
    return f"epochs/{epoch:04d}.safetensors"
