"""The site's Python part: `tools/site.sh` builds it, notebooks executed, every warning an error."""

import scmvp

project = "scMVP"
author = "scMVP developers"
copyright = author
version = release = scmvp.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
root_doc = "index"
templates_path = ["_templates"]

# text
default_role = "code"  # `name` in docstrings
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # signatures stay readable; arguments are described in words
autoclass_content = "both"  # with what the constructor takes
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# notebooks: run at each build, in the environment of Sphinx
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"
nb_merge_streams = True

# look: colors and fonts are those of _pkgdown.yml
html_theme = "pydata_sphinx_theme"
html_title = "scMVP for Python"
html_static_path = ["_static"]
html_css_files = ["scmvp.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "scMVP"},
    "navbar_center": ["navbar-nav"],
    "navbar_end": ["elsewhere", "theme-switcher"],
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": False,
    "pygments_light_style": "a11y-light",
}
html_sidebars = {"index": [], "notebooks/translation": []}  # room for its table
