"""The exceptions that a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Something in the configuration, the data or the environment that the user can mend.

    The message is one line that names the file or key and the remedy. The command line prints it
    without a traceback; everything else that escapes is a bug and keeps its traceback.
    """


class GateFailedError(UserError):
    """The audit is done, and its ``fail_if`` holds: a release shall not happen."""
