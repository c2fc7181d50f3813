"""The report of one audit."""
