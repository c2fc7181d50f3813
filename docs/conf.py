"""Settings of Sphinx; `make docs` builds the site into docs/_build/html."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

project = "mia_lab"
author = "The mia_lab authors"
copyright = author
release = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "mathml",
    "reference",
    "repository",
]
exclude_patterns = ["_build", "extensions"]
nitpicky = True
# Names of other libraries, and those that mia_lab does not export, have no page here.
nitpick_ignore_regex = [("py:.*", r"(?!mia_lab\.\w+$).*")]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"  # without a terminal, each step of an audit prints a line

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"Images": "Images", "Victim": "Victim"}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = "mia_lab"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["mia_lab.css"]
html_copy_source = False
html_show_sphinx = False
