"""How Sphinx builds the site: `sphinx-build -W --keep-going docs build/site`, with gpuinit[docs] installed.

The build fetches nothing; a browser that shows the formulas loads MathJax.
"""

import gpuinit

project = "gpuinit"
release = version = gpuinit.__version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
html_theme = "furo"
html_title = f"gpuinit {release}"
html_show_copyright = False

autodoc_typehints = "none"  # the docstrings say more: dtypes, shapes, ranges
default_role = "py:obj"  # a name in single backticks links to what it names, if it is on the site
numpydoc_show_class_members = False  # autoclass's :members: lists them
toc_object_entries = False  # each function has a heading already
myst_heading_anchors = 3
