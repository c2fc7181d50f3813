"""The Python API; import its names from :mod:`mia_lab`."""
