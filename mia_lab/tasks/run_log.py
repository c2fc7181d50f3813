"""The log file of a run."""

from __future__ import annotations

import logging
import sys


class RunLog(logging.FileHandler):
    """Ends the log, not the run, where the file cannot be written, and says so once.

    The standard handler prints a traceback for each line that it cannot write, and raises at the
    end of the run.
    """

    _is_cut = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._is_cut:
            try:
                super().emit(record)
            except OSError as error:  # the file cannot be opened
                self._cut(error)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if isinstance(error, OSError):
            self._cut(error)
        else:
            super().handleError(record)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._cut(error)

    def _cut(self, error: OSError) -> None:
        if not self._is_cut:
            self._is_cut = True
            print(f"{self.baseFilename}: the log ends here ({error.strerror})", file=sys.stderr)
