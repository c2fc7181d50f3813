"""Exceptions with messages for the user."""

from __future__ import annotations


class UserError(Exception):
    """An error in the configuration, the data or the environment that the user can correct.

    The message is one line that names the file or key and the remedy. The command line prints it
    without a traceback. Any other exception is a bug, and is printed with its traceback.
    """


class GateFailedError(UserError):
    """The audit is complete, and its condition ``fail_if`` holds, which forbids a release."""
