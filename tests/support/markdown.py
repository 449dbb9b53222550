"""Tables printed into Markdown pages between marks: of the README, and of the one of deploy/observability."""

from collections.abc import Callable, Mapping, Sequence


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a bar in a cell does not end it."""
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def filled(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """A page with every table printed anew.

    Raises:
        ValueError: it has no place for one of them.
    """
    for name, print_table in tables.items():
        begin, end = f"<!-- table: {name} -->\n", "<!-- end -->"
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the page has no table {name!r}")
        text = f"{head}{begin}{print_table()}\n{end}{tail}"
    return text
