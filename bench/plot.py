"""The plot of a report: throughput and latency, one row of panels per comparison. Equal reports give equal bytes."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.measure import Metric, Spread, p99, spread, throughput
from bench.report import Report, Setting, plotted

OURS_COLOUR, RIVAL_COLOUR, TEXT_COLOUR = "#1f6f8b", "#b8c0c8", "#333333"
INCHES_WIDE, INCHES_A_BAR, INCHES_A_ROW = 9.0, 0.24, 0.62


def bars(axes: Axes, spreads: dict[str, Spread], scale: float, label: str) -> None:
    """Horizontal bars of medians, with the range over the rounds as a thin line and the median as text."""
    widest = max(one.high for one in spreads.values()) * scale
    for at, (name, one) in enumerate(spreads.items()):
        colour = OURS_COLOUR if name.startswith("ours") and not name.endswith("off") else RIVAL_COLOUR
        axes.barh(at, one.median * scale, color=colour, height=0.7)
        axes.plot([one.low * scale, one.high * scale], [at, at], color=TEXT_COLOUR, linewidth=0.8)
        value = one.median * scale
        axes.text(
            one.high * scale + widest * 0.02, at, f"{value:,.0f}" if value >= 100 else f"{value:.2g}", va="center"
        )
    axes.set_yticks(range(len(spreads)), list(spreads))
    axes.invert_yaxis()
    axes.set_xlim(0, widest * 1.18)
    axes.set_xlabel(label)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def panel(axes: Axes, setting: Setting, metric: Metric, scale: float, label: str) -> None:
    """One comparison by one metric."""
    bars(axes, {name: spread(setting.rounds, name, metric) for name in setting.names}, scale, label)


def save(report: Report, path: Path) -> None:
    """Draw every comparison of two or more servers into an SVG file; writes no file when there is none."""
    shown = plotted(report)
    if not shown:
        return
    heights = [INCHES_A_ROW + INCHES_A_BAR * len(one.names) for _, one in shown]
    with rc_context({"svg.hashsalt": "serving-patterns", "svg.fonttype": "path", "font.size": 8.0}):
        figure = Figure(figsize=(INCHES_WIDE, sum(heights) + 0.3), layout="constrained")
        grid = figure.subplots(len(shown), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
        for (part, setting), (left, right) in zip(shown, grid, strict=True):
            panel(left, setting, throughput, 1.0, "requests per second (higher is better)")
            panel(right, setting, p99, 1e3, "p99 latency in ms (lower is better)")
            right.set_yticklabels([])
            many = "connection" if setting.connections == 1 else "connections"
            left.set_title(f"{part.title}, {setting.connections} {many}", loc="left", fontweight="bold")
        figure.savefig(path, format="svg", metadata={"Date": None})
