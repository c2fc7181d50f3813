"""Results for readers: files, pictures, one HTML page, the terminal and W&B."""

from mia_lab.reporting.audit.figures import draw
from mia_lab.reporting.audit.words import text_table, verdict
from mia_lab.reporting.canvas import Picture
from mia_lab.reporting.files import write_files
from mia_lab.reporting.html import write_html
from mia_lab.reporting.tracking import Tracker

__all__ = ["Picture", "Tracker", "draw", "text_table", "verdict", "write_files", "write_html"]
