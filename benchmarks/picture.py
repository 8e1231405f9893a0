"""Results as a picture: a bar for each row, pass and memory format."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report import Pair, Results, geometric_mean, pairs

_FORMATS = {"contiguous": "#1f77b4", "channels_last": "#ff7f0e"}
_COLUMNS = {  # gradients of all operands at once stand with the gradient of the input
    "forward": "forward",
    "input": "gradient of the input",
    "backward": "gradient of the input",
    "weight": "gradient of the weight (or bias)",
    "bias": "gradient of the weight (or bias)",
}
_ROW_HEIGHT = 0.17  # inches


def draw(results: Results, other: str, path: Path) -> None:
    """Save bars of the other's time over fastconv's, to the format that the path's ending names.

    A row measured with several batches, thread counts or dtypes has the geometric mean of these.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('a picture needs matplotlib: pip install "fastconv[train]"') from error

    found = pairs(results.records, other)
    groups: dict[str, dict[str, list[Pair]]] = {}
    for pair in found:
        groups.setdefault(pair.first.group, {}).setdefault(pair.first.label, []).append(pair)
    # place of each row from the top: a heading for each group, then its rows
    places: dict[tuple[str, str], int] = {}
    headings: dict[str, int] = {}
    place = 0
    for group, labels in groups.items():
        headings[group] = place
        for label in labels:
            place += 1
            places[group, label] = place
        place += 1

    steps = {p.first.step for p in found}
    columns = list(dict.fromkeys(title for step, title in _COLUMNS.items() if step in steps))
    figure = Figure(figsize=(4.5 + 3.2 * len(columns), 1.6 + _ROW_HEIGHT * place))
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for panel, title in zip(panels, columns, strict=True):
        for (group, label), row in places.items():
            here = [p for p in groups[group][label] if _COLUMNS[p.first.step] == title]
            for index, (format, colour) in enumerate(_FORMATS.items()):
                ratios = [p.ratios[format] for p in here if format in p.ratios]
                if ratios:
                    mean = geometric_mean(ratios)
                    panel.barh(
                        row + (index - 0.5) * 0.4, mean - 1, 0.4, left=1, color=colour, zorder=2
                    )
        panel.set_xscale("log")
        panel.axvline(1, color="black", linewidth=1, zorder=3)
        panel.grid(axis="x", which="major", color="0.85", zorder=0)
        panel.set_title(title, fontsize=10)
        panel.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        panel.tick_params(axis="x", labelsize=8, top=True, labeltop=True)
        for row in headings.values():
            panel.axhline(row - 0.05, color="0.93", linewidth=_ROW_HEIGHT * 72 * 0.8, zorder=1)
    first = panels[0]
    ticks = [*((row, group) for group, row in headings.items())]
    ticks += [(row, label) for (_, label), row in places.items()]
    first.set_yticks([row for row, _ in ticks], [text for _, text in ticks], fontsize=7)
    for text, (row, name) in zip(first.get_yticklabels(), ticks, strict=True):
        if headings.get(name) == row:
            text.set_fontweight("bold")
    first.set_ylim(place - 0.3, -0.7)  # from the top down
    handles = [
        first.barh(0, 0, color=colour, label=format.replace("_", "-"))
        for format, colour in _FORMATS.items()
    ]
    figure.legend(handles=handles, loc="upper right", ncols=2, fontsize=8, frameon=False)
    machine = results.machine
    threads = sorted({p.first.threads for p in found})
    batches = sorted({p.first.batch for p in found})
    figure.suptitle(
        f"{other}'s time over fastconv's (right of 1: fastconv is faster)\n"
        f"{machine['cpu']}, threads {threads}, N {batches}",
        fontsize=10,
        x=0.02,
        y=1 - 0.1 / figure.get_figheight(),
        ha="left",
        va="top",
    )
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.15 / figure.get_figheight()))
    figure.savefig(path, dpi=110)
