"""How Sphinx builds the site: `sphinx-build -W --keep-going docs build/site`, with gpuinit[docs] installed.

Neither the build nor the pages fetch anything.
"""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import gpuinit

project = "gpuinit"
release = version = gpuinit.__version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"gpuinit {release}"
html_show_copyright = False
html_math_renderer = "mathml"

autodoc_typehints = "none"  # the docstrings say more: dtypes, shapes, ranges
default_role = "py:obj"  # a name in single backticks links to what it names, if it is on the site
numpydoc_show_class_members = False  # autoclass's :members: lists them
toc_object_entries = False  # each function has a heading already
myst_heading_anchors = 3


def formula(translator, node):
    """MathML, which browsers show by themselves, where Sphinx's own renderers need a script or LaTeX."""
    block = isinstance(node, nodes.math_block)
    markup = tex2mathml(node.astext(), as_block=block)
    # Furo gives a scrollbar to what stands out of its box by a pixel, as tall brackets do.
    translator.body.append(f'<div style="padding: 0.3em 0">{markup}</div>' if block else markup)
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
