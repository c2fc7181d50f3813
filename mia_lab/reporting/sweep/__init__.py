"""The report of a sweep."""

from mia_lab.reporting.sweep.words import text

__all__ = ["text"]
