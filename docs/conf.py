"""How Sphinx builds the site: ``python -m sphinx --fail-on-warning --keep-going docs docs/_build/html``."""

import shutil
from pathlib import Path

import pymc_rbm

HERE = Path(__file__).resolve().parent

project = "pymc_rbm"
author = "the authors of pymc_rbm"
project_copyright = "the authors of pymc_rbm; Apache 2.0"
version = release = pymc_rbm.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
suppress_warnings = ["config.cache"]  # notebooks' formats are functions, which Sphinx cannot store

# Notebooks are shown with the outputs that they hold; `.ci/run` runs them.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "amsmath", "attrs_inline"]
myst_heading_anchors = 3

# Docstrings are numpydoc; their single backticks name objects of the package, or are set as code.
default_role = "py:obj"
autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# pydata_sphinx_theme is what the themes of PyMC, pymc-extras and pymc-bart are made of. Theirs bring PyMC's own logo,
# search and statistics, which belong to its own sites.
html_theme = "pydata_sphinx_theme"
html_title = "pymc_rbm"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {name: [] for name in ("index", "messages", "comparison", "BENCHMARKS", "CONTRIBUTING", "CHANGELOG")}
html_context = {"default_mode": "auto"}
html_theme_options = {
    "show_prev_next": False,
    "header_links_before_dropdown": 5,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "navigation_with_keys": False,
    "pygments_light_style": "friendly",
}
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True


def bring_notebooks(app):
    """Copy the notebooks beside the pages: Sphinx reads nothing outside of its folder."""
    shutil.copytree(HERE.parent / "notebooks", HERE / "notebooks", dirs_exist_ok=True)


def setup(app):
    """Have the notebooks copied before Sphinx looks for pages."""
    app.connect("builder-inited", bring_notebooks)
