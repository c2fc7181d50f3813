"""A store of stage results, each computed once and found under a hash of its inputs."""

from mia_lab.store.artifact import Store
from mia_lab.store.content import Contents, file_sha256, files_below
from mia_lab.store.manifest import Entry
from mia_lab.store.stage import Stage, canonical_json, sha256_of
from mia_lab.store.tables import ArrayFile, load_table, save_table

__all__ = [
    "ArrayFile",
    "Contents",
    "Entry",
    "Stage",
    "Store",
    "canonical_json",
    "file_sha256",
    "files_below",
    "load_table",
    "save_table",
    "sha256_of",
]
