"""A record as tables: on the terminal, and in Markdown for a document."""

from typing import Any

from rich.console import Console
from rich.table import Table

HEADS = ("side", "median", "quartiles", "time / ours", "peak memory", "memory / ours")
LEAST_MIB = 1.0  # of ours, for a ratio: below, what is measured are pages


def table(case: dict[str, Any]) -> Table:
    """Table of a case; ours is the first side."""
    made = Table(*HEADS, title=f"{_title(case)} ({case['name']})", title_justify="left")
    for row in _rows(case):
        made.add_row(*row)
    return made


def show(console: Console, case: dict[str, Any]) -> None:
    """Print a case: its table, the configuration of its sides, and what was left out."""
    if case["failed"]:
        console.print(f"{_title(case)} ({case['name']}): not timed: {case['failed']}", highlight=False)
        return
    console.print(table(case))
    for one in case["sides"]:
        console.print(f"  {one['side']}: {one['configuration']}", highlight=False)
    for note in case["notes"]:
        console.print(f"  {note}", highlight=False)


def markdown(record: dict[str, Any]) -> str:
    """Machine, method, and a table a case with the configuration of its sides below it."""
    lines = [f"{record['date'][:10]}, {_machine(record)}.", "", *_method(record["method"]), ""]
    for case in record["cases"]:
        lines += [f"### {_title(case)}", ""]
        if case["failed"]:
            lines += [f"Not timed: {case['failed']}", ""]
            continue
        lines += [f"| {' | '.join(HEADS)} |", f"|{'|'.join(['---', *['---:'] * (len(HEADS) - 1)])}|"]
        lines += [f"| {' | '.join(row)} |" for row in _rows(case)]
        lines += ["", *(f"- {one['side']}: {one['configuration']}" for one in case["sides"]), ""]
    notes = list(dict.fromkeys(note for case in record["cases"] for note in case["notes"]))
    return "\n".join([*lines, *(f"- {note}" for note in [*notes, *_left_out(record)])]).rstrip() + "\n"


def summary(record: dict[str, Any]) -> list[str]:
    """Lines below the tables: where and how it was measured."""
    return [_machine(record), *_method(record["method"]), *_left_out(record)]


def _title(case: dict[str, Any]) -> str:
    return case["title"] + (", on the GPU" if case["device"] == "cuda" else "")


def _rows(case: dict[str, Any]) -> list[tuple[str, ...]]:
    if not case["sides"]:
        return []
    ours = case["sides"][0]
    rows: list[tuple[str, ...]] = []
    for one in case["sides"]:
        low, high = (f"{x * 1e3:.1f}" for x in one["quartiles"])
        rows.append(
            (
                one["side"],
                f"{one['median'] * 1e3:.1f} ms",
                f"{low}-{high}",
                f"{one['median'] / ours['median']:.2f}",
                "-" if one["peak_mib"] is None else f"{one['peak_mib']:.1f} MiB",
                f"{one['peak_mib'] / ours['peak_mib']:.2f}"
                if one["peak_mib"] is not None and (ours["peak_mib"] or 0) >= LEAST_MIB
                else "-",
            )
        )
    return rows


def _method(method: dict[str, Any]) -> list[str]:
    return [
        f"{method['timing']} {method['repeats']} rounds (three of long cases); take the ratios, not the times.",
        method["memory"],
    ]


def _left_out(record: dict[str, Any]) -> list[str]:
    names = record.get("left_out")  # which records of earlier versions lack
    return [f"left out since the time was over: {', '.join(names)}"] if names else []


def _machine(record: dict[str, Any]) -> str:
    found = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    where = f"{found['processor']}, {found['cores']} cores, {found['threads']} threads"
    gpu = f"{found['gpu']}; " if found["gpu"] else ""
    return f"{where}; {gpu}Python {found['python']}, {versions}"
