"""Docstrings as the API pages show them: names linked, equations drawn. An extension of griffe, under mkdocstrings."""

import re
from typing import Any

import griffe
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

FONT = FontProperties(size=100, math_fontfamily="cm")
# What TeX takes and matplotlib does not.
DIALECT = {
    r"\\le(?=[^a-z])": r"\\leq", r"\\ge(?=[^a-z])": r"\\geq", r"\\mathrel\{\+\}=": r"\\ {+}{=}\\ ",
    r"\\sqrt (\w)": r"\\sqrt{\1}", r"\\frac(\w)(\w)": r"\\frac{\1}{\2}", "&": "", r"\s+": " ",
}  # fmt: skip
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`([^`]+)`")
DISPLAYED = re.compile(r"^( *)\.\. math::(.*\n?(?:(?:\1 +.*)?\n)*(?:\1 +.*\Z)?)", re.MULTILINE)


def picture(tex: str) -> str:
    """An equation as one path of SVG in the colour of the text. Raises ValueError for TeX that cannot be drawn."""
    for pattern, to in DIALECT.items():
        tex = re.sub(pattern, to, tex)
    text = f"${tex.strip()}$"
    width, height, depth = text_to_path.get_text_width_height_descent(text, FONT, ismath=True)
    vertices, codes = text_to_path.get_text_path(FONT, text, ismath=True)
    letters = {1: "M", 2: "L", 3: "Q", 4: "C"}
    path, previous = "", 0
    for (x, y), code in zip(vertices, codes, strict=True):
        if code == 79:
            path += "Z"
        else:  # a curve's later points have its code again
            path += f"{letters[code] if code < 3 or code != previous else ' '}{x:.0f} {height - depth - y:.0f}"
        previous = 0 if code == 79 else code
    title = tex.strip().replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return (
        f'<svg class="math" role="img" aria-label="{title}" style="width:{width / 100:.2f}em;vertical-align:'
        f'{-depth / 100:.2f}em" viewBox="0 -5 {width:.0f} {height + 10:.0f}"><path d="{path}"/></svg>'
    )


def place(target: str, obj: Any) -> str:
    """Where what is imported under a name is written; a function rather than the module of its name."""
    try:
        found = obj.modules_collection[target]
        found = found.final_target if found.is_alias else found
        found = found.members.get(found.name, found) if found.is_module else found
    except (KeyError, griffe.GriffeError):  # of another package
        return target
    return str(found.canonical_path)


def markdown(text: str, obj: Any) -> str:
    """A docstring in Markdown: roles become links where the API pages have what they name."""

    def displayed(found: re.Match[str]) -> str:
        rows = [row for row in re.split(r"\\\\(?:\s|$)", found[2].strip()) if row.strip()]
        return f'{found[1]}<div class="equations">{"".join(map(picture, rows))}</div>\n\n'

    def linked(found: re.Match[str]) -> str:
        name = found[1].lstrip("~!")
        try:
            target = obj.resolve(name)
        except griffe.NameResolutionError:
            first, _, rest = name.partition(".")
            try:  # a method named from outside its class
                target = f"{obj.resolve(first)}.{rest}" if rest else name
            except griffe.NameResolutionError:
                target = name
        shown = name.rpartition(".")[2] if name.startswith("snn_delays.") else name
        return f'<autoref optional identifier="{place(target, obj)}"><code>{shown}</code></autoref>'

    text = DISPLAYED.sub(displayed, text)
    text = re.sub(r":math:`([^`]+)`", lambda found: picture(found[1]), text)
    return ROLE.sub(linked, text)


class Docstrings(griffe.Extension):
    """Rewrites every docstring once its package is loaded."""

    def on_object(self, *, obj: Any, **_: Any) -> None:  # noqa: D102 (as griffe has it)
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value, obj)
