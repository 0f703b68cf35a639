"""The view of a beam's tree."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from antiphon.inspection.trace import Beam, Node, Trace
from antiphon.inspection.views.drawing import BLUE, GREEN, HIGHEST, WIDEST, View, short_labels, side

LEAVES = 120  # leaves of a beam's tree: with more, what was pruned is left out


def beam(trace: Trace) -> View | None:
    """The tree of the prefixes of a search."""
    if trace.beam is None:
        return None
    nodes = _shown(trace.beam)
    places = _places(nodes)
    depth = max(across for across, _ in places.values())
    lowest = max(down for _, down in places.values())

    def draw(figure: FigureBase) -> None:
        _tree(figure.subplots(), nodes, places)

    about = (
        f"A search {trace.beam.width} wide, from left to right. Black prefixes were kept until it was done, grey "
        "ones were dropped; green ends are outputs, with their rank and log p. The thick line is the best."
    )
    if len(nodes) < len(trace.beam.nodes):
        about += " Of the dropped ones there are too many to show."
    size = (1.5 + side(depth + 1, WIDEST, 0.95), 0.8 + side(lowest + 1, HIGHEST, 0.21))
    return View("Prefixes of the search (beam)", about, size, draw)


def _shown(tree: Beam) -> list[Node]:
    parents = {node.parent for node in tree.nodes}
    if sum(node.id not in parents for node in tree.nodes) <= LEAVES:
        return tree.nodes
    return [node for node in tree.nodes if node.status != "pruned"]


def _places(nodes: Sequence[Node]) -> dict[int, tuple[int, float]]:
    """Where each node stands: its depth, and its height, leaves one below the other, the more probable above."""
    children: dict[int, list[Node]] = {node.id: [] for node in nodes}
    depths: dict[int, int] = {}
    for node in nodes:
        depths[node.id] = 0 if node.parent is None else depths[node.parent] + 1
        if node.parent is not None:
            children[node.parent].append(node)
    heights: dict[int, float] = {}
    leaves = 0
    open_nodes = [(nodes[0], False)]
    while open_nodes:  # no recursion: an output may be long
        node, done = open_nodes.pop()
        below = sorted(children[node.id], key=lambda child: -child.log_prob)
        if done:
            heights[node.id] = sum(heights[child.id] for child in below) / len(below)
        elif below:
            open_nodes += [(node, True), *((child, False) for child in reversed(below))]
        else:
            heights[node.id], leaves = float(leaves), leaves + 1
    return {node: (depths[node], heights[node]) for node in heights}


def _tree(axes: Axes, nodes: Sequence[Node], places: dict[int, tuple[int, float]]) -> None:
    by_id = {node.id: node for node in nodes}
    best: set[int] = set()
    ancestor: Node | None = next((node for node in nodes if node.rank == 0), None)
    while ancestor is not None:
        best.add(ancestor.id)
        ancestor = None if ancestor.parent is None else by_id[ancestor.parent]
    colors = {"kept": "black", "pruned": "#aaaaaa", "finished": GREEN}
    for node in nodes:
        x, y = places[node.id]
        if node.parent is None:
            axes.plot([x], [y], marker="o", color="black", markersize=4)
            continue
        above = places[node.parent]
        axes.plot(
            [above[0] + 0.04, x - 0.12], [above[1], y],
            color=BLUE if node.id in best else "#bbbbbb", linewidth=2.2 if node.id in best else 0.7, zorder=0,
        )  # fmt: skip
        text = short_labels([node.token], 10)[0]
        if node.status == "finished":
            text += f"  {'dropped' if node.rank is None else f'{node.rank + 1}.'}  {node.log_prob:.2f}"
        axes.text(
            x - 0.1, y, text, va="center", fontsize=8, color=colors[node.status],
            fontweight="bold" if node.id in best else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
    axes.set(xlim=(-0.2, max(x for x, _ in places.values()) + 1), ylim=(max(y for _, y in places.values()) + 0.6, -0.6))
    axes.axis("off")
