"""How Sphinx builds these pages, from the installed package: `make docs`."""

import os
import re
from importlib import metadata
from pathlib import Path

from docutils import nodes
from latex2mathml import converter

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# Pages whose text is a file of the root.
ROOT_FILES = {
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "readme": "README.md",
}
LINK = re.compile(r"\[([^]]*)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")

project = "fastsoftmax"
author = "fastsoftmax developers"
project_copyright = author
release = version = metadata.version("fastsoftmax")

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
# The README is no page of the site, but `make linkcheck`, which has the tag, checks its links.
exclude_patterns = [] if tags.has("readme") else ["readme.md"]  # noqa: F821
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"numpy\..*")]  # its index would come over the network

add_module_names = False
toc_object_entries = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the parameters' sections tell the types, in the words of NumPy
numpydoc_show_class_members = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # GitHub's anchors, which the links between the pages use

html_theme = "furo"
html_title = f"fastsoftmax {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_math_renderer = "mathml"


def setup(app):
    # MathML: browsers show it without a script and without the network.
    app.add_html_math_renderer("mathml", (show_math("inline"), None), (show_math("block"), None))
    app.connect("source-read", read_page)
    app.connect("source-read", end_examples)


def show_math(display):
    def visit(translator, node):
        formula = converter.convert(node.astext(), display=display)
        block = display == "block"
        translator.body.append(f'<div class="math">{formula}</div>' if block else formula)
        raise nodes.SkipNode

    return visit


def read_page(app, page, source):
    """Give a page its text, from the root where it is kept there, with links that hold here."""
    path = Path(app.env.doc2path(page))
    if path.suffix != ".md":
        return
    folder, text = path.parent, source[0]
    if page in ROOT_FILES:
        path = ROOT / ROOT_FILES[page]
        app.env.note_dependency(path)
        text = path.read_text(encoding="utf-8")
    source[0] = LINK.sub(lambda link: link_from(folder, link, path.parent), text)
    if page == "readme":
        source[0] = f"---\norphan: true\n---\n{source[0]}"


def link_from(folder, link, written_in):
    """The same link from another folder; to a page of this site where it has that file."""
    text, target, anchor = link[1], (written_in / link[2]).resolve(), link[3] or ""
    if target.is_dir():  # which GitHub lists, and a site does not
        return text
    for page, name in ROOT_FILES.items():
        if target == ROOT / name:
            target = HERE / f"{page}.md"
    if target.name in exclude_patterns:
        target, anchor = HERE / "index.md", ""
    return f"[{text}]({os.path.relpath(target, folder)}{anchor})"


def end_examples(app, page, source):
    """Drop the empty line that ends an example for doctest, and would be shown."""
    source[0] = re.sub(r"\n+```$", "\n```", source[0], flags=re.MULTILINE)
