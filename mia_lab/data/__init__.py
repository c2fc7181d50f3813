"""Datasets: sources of pairs, roles and splits, label encodings, and tensors."""
