"""Settings of Sphinx: `make docs` builds the site, every warning is an error."""

import importlib.util

from skyextract import __version__

project = "skyextract"
author = "the authors of skyextract"
version = release = __version__
html_title = f"skyextract {version}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
]
exclude_patterns = ["*.in.md"]
if importlib.util.find_spec("skyextract.api") is None:
    exclude_patterns.append("api.md")

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]
# The tests run the notebooks; the site shows the outputs they are kept with.
nb_execution_mode = "off"

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
copybutton_prompt_text = "$ "

html_theme = "furo"
html_show_copyright = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
