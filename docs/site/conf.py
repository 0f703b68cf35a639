"""The site in one language, chosen by SITE_LANGUAGE (en or zh); `scripts/docs` builds both.

Everything is in the pages: no request goes to another host. Formulas are MathML, made while the site is built.
"""

import os
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.locale import get_translation
from sphinx.writers.html5 import HTML5Translator

SITE = Path(__file__).parent
sys.path[:0] = [str(SITE), str(SITE.parents[1])]

import figures  # noqa: E402
import outputs  # noqa: E402
import reference  # noqa: E402

from antiphon import __version__  # noqa: E402

CODE = os.environ["SITE_LANGUAGE"]
OTHER = {"en": ("zh", "中文"), "zh": ("en", "English")}[CODE]

project = "Antiphon"
author = "The Antiphon authors"
project_copyright = "The Antiphon authors, Apache-2.0"
release = version = __version__
if CODE == "zh":
    import jieba

    jieba.setLogLevel("WARNING")  # it writes about its dictionary
language = {"en": "en", "zh": "zh_CN"}[CODE]
extensions = ["myst_parser", "sphinx_copybutton"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
exclude_patterns = ["**/.*", "**/generated"]
templates_path = [str(SITE / "_templates")]
html_static_path = [str(SITE / "_static")]
html_css_files = ["site.css"]
html_theme = "furo"
html_title = f"Antiphon {__version__}"
html_show_sphinx = False
html_copy_source = False
html_math_renderer = "mathml"
html_context = {"other_code": OTHER[0], "other_name": OTHER[1]}
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "language.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
copybutton_exclude = ".linenos, .gp, .go"
nitpicky = True
smartquotes = False  # messages and options are shown as they are written


# what the theme has no Chinese for
CHINESE = {"Next": "下一页", "Previous": "上一页", "Home": "首页", "Back to top": "回到顶部"}


def _in_chinese(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: object) -> None:
    translate = get_translation("sphinx")
    context["_"] = context["gettext"] = lambda text: CHINESE.get(text) or translate(text)


def _math(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _math_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Formulas as MathML, outputs of the pages' commands, figures and reference pages made before pages are read."""
    app.add_html_math_renderer("mathml", inline_renderers=(_math, None), block_renderers=(_math_block, None))
    app.add_directive("output", outputs.Output)
    if CODE == "zh":
        app.connect("html-page-context", _in_chinese)
    app.connect("builder-inited", lambda _: figures.write_all(Path(app.srcdir) / "figures", CODE))
    app.connect("builder-inited", lambda _: reference.write_all(Path(app.srcdir) / "reference", CODE))
