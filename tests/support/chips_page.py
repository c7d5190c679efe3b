"""What docs/chips.md says of each target, from its card.

python -m tests.support.chips_page writes it anew between the marks ``<!-- chips -->``, ``<!-- chip NAME -->`` and
``<!-- /chips -->``, ``<!-- /chip -->``.
"""

import re
from pathlib import Path

from snn_delays.chips.profiles import EVIDENCE, Profile, profile, profiles

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "chips.md"
TABLE = re.compile(r"(<!-- chips -->\n).*?(<!-- /chips -->)", re.DOTALL)
BLOCK = re.compile(r"(<!-- chip (?P<name>[\w-]+) -->\n).*?(<!-- /chip -->)", re.DOTALL)


def written_anew(text: str) -> str:
    """The page with the table and every block as the cards are now."""
    text = TABLE.sub(lambda match: match[1] + overview() + match[2], text)
    return BLOCK.sub(lambda match: match[1] + facts(profile(match["name"])) + match[3], text)


def named(text: str) -> list[str]:
    """The targets that have a block."""
    return [match["name"] for match in BLOCK.finditer(text)]


def overview() -> str:
    """All targets in one table; what is not verified is in italics with a question mark."""
    heads = ("target", "delays", "longest (steps)", "weights (bits)", "reset", "arithmetic", "recurrent")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for one in profiles().values():
        longest = "no limit" if one.software else "-" if one.max_delay_steps is None else f"{one.max_delay_steps}"
        cells = (
            f"[`{one.name}`](#{anchor(one)})",
            marked(one, "delay_kind", one.delay_kind),
            marked(one, "max_delay_steps", longest),
            marked(one, "weight_bits", ", ".join(map(str, sorted(one.weight_bits))) or "real"),
            marked(one, "resets", " or ".join(one.resets)),
            marked(one, "arithmetic", one.arithmetic),
            marked(one, "recurrent", "yes" if one.recurrent else "no"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n" + "\n".join(lines) + "\n\n"


def facts(of: Profile) -> str:
    """Every number on a card, how it is known and where from: a row for each source."""
    lines = [f"{of.about}", "", "| what | how it is known | where from |", "|---|---|---|"]
    grouped: dict[tuple[str, str], list[str]] = {}
    for field, known in of.evidence.items():
        value = getattr(of, field)
        shown = " or ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"
        grouped.setdefault((EVIDENCE[known.kind], known.source), []).append(f"`{field}` {shown}")
    lines += [f"| {', '.join(what)} | {how} | {source} |" for (how, source), what in grouped.items()]
    return "\n" + "\n".join(lines) + "\n\n"


def marked(of: Profile, field: str, shown: str) -> str:
    """A cell, in italics and with a question mark where nobody has verified it."""
    return f"*{shown} ?*" if field in of.unverified else shown


def anchor(of: Profile) -> str:
    """Where on the page a target's heading is."""
    return re.sub(r"[^\w -]", "", of.title.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(written_anew(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print("no block for:", *sorted(set(profiles()) - set(named(PAGE.read_text(encoding="utf-8")))))
