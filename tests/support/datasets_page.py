"""What docs/datasets.md says of each data set, from its card and the recipes that use it.

python -m tests.support.datasets_page writes it anew between the marks ``<!-- card NAME -->`` and ``<!-- /card -->``.
"""

import re
from pathlib import Path

from snn_delays.data.card import Card, SplitFile
from snn_delays.data.catalogue.lookup import card, cards
from snn_delays.recipes.files import load_recipe

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "datasets.md"
BLOCK = re.compile(r"(<!-- card (?P<name>[\w-]+) -->\n).*?(<!-- /card -->)", re.DOTALL)


def written_anew(text: str) -> str:
    """The page with the block of each data set as its card is now."""
    return BLOCK.sub(lambda match: f"{match[1]}{facts(card(match['name']))}{match[3]}", text)


def named(text: str) -> list[str]:
    """The data sets that have a block."""
    return [match["name"] for match in BLOCK.finditer(text)]


def facts(of: Card) -> str:
    """A table of what the card says."""
    size = " x ".join(str(length) for length in of.sensor)
    kind = "channels" if len(of.sensor) == 1 else "(polarity, y, x)"
    splits = ", ".join(f"{split} {part.samples:,}" for split, part in of.splits.items())
    rows = {
        "shown as": f"{of.display_name}, where the checksums say so",
        "splits": splits,
        "input": f"{size} {kind}, {of.n_classes} classes",
        "times": f"{of.time_unit}; bins finer than {of.finest_dt_ms:g} ms show nothing more",
        "validation": rule(of),
        "files": "; ".join(dict.fromkeys(place(of, part) for part in of.splits.values())),
        "Tonic": f"`{of.tonic_class}`" if of.tonic_class else "no class",
        "licence": of.licence,
        "recipes": ", ".join(f"`{name}`" for name in recipes(of.name)) or "none of its own",
    }
    lines = [f"| `{of.name}` | |", "|---|---|", *(f"| {key} | {row} |" for key, row in rows.items())]
    return "\n" + "\n".join(lines) + "\n\n"


def rule(of: Card) -> str:
    """The card's validation rule in words."""
    if "train" not in of.splits:
        return "none: there is nothing to train on"
    kind = of.validation["rule"]
    if kind == "official":
        return "`official`: its own split `valid`"
    if kind == "speakers":
        return f"`speakers`: {', '.join(map(str, of.validation['speakers']))} held out of train"
    return f"`fraction`: {of.validation['fraction']:.0%} of each class of train"


def place(of: Card, part: SplitFile) -> str:
    """Where a split lies, and the checksum of what it comes from."""
    if not part.file and not part.parts:
        return "none: generated"
    if of.bundled:
        return "in the package"
    if part.parts:
        return ", ".join(f"`{of.folder}/{name}` (md5 `{md5}`)" for name, md5 in part.parts.items())
    where = f"`{'/'.join(filter(None, (of.folder, part.file)))}`"
    if part.archive_md5:
        return f"{where} from `{part.archive}` (md5 `{part.archive_md5}`)"
    if part.sha256:
        return f"{where} (sha256 `{part.sha256}`)"
    return f"{where} (md5 `{part.md5}`)" if part.md5 else f"{where}, made on your machine"


def recipes(name: str) -> list[str]:
    """Recipes that train on a data set."""
    paths = sorted((ROOT / "experiments").glob("*.toml"))
    loaded = {path.stem: load_recipe(path) for path in paths}
    return [stem for stem, recipe in loaded.items() if getattr(getattr(recipe, "data", None), "dataset", "") == name]


if __name__ == "__main__":
    PAGE.write_text(written_anew(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print("no block for:", *sorted(set(cards()) - set(named(PAGE.read_text(encoding="utf-8")))))
