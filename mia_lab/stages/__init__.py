"""The stored steps of a run, one file each: what a step reads, how it is computed, what it returns.

:mod:`mia_lab.stages.graph` connects them as a configuration asks.
"""
