"""The drawings of the site, as SVG, with the words of one language; each is a function of `FIGURES`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import drawsvg

WIDTH, HEIGHT = 44, 34  # of a box
INPUT, STATE, OUTPUT, CONTEXT = "#dce9f7", "#e6e1f4", "#dcf0df", "#fbe6c8"  # fills
LINE = "#454b57"
FONT = "system-ui, 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif"

WORDS = {
    "structures": {
        "en": "one to one|one to many|many to one|many to many|synchronous",
        "zh": "一对一|一对多|多对一|多对多|同步",
    },
    "examples": {
        "en": "image → label|image → caption|review → mood|sentence → translation|words → tags",
        "zh": "图像 → 类别|图像 → 描述|评论 → 情感|句子 → 译文|词 → 词性",
    },
    "encoder": {"en": "encoder", "zh": "编码器"},
    "decoder": {"en": "decoder", "zh": "解码器"},
    "softmax": {"en": "softmax", "zh": "softmax"},
    "pool": {"en": "mean", "zh": "平均"},
    "start": {"en": "C at the start: to: initial_state", "zh": "仅在开头使用 C：to: initial_state"},
    "every": {"en": "C at every step: to: every_step", "zh": "每一步都使用 C：to: every_step"},
    "teacher": {"en": "training: fed with the reference", "zh": "训练：输入参考答案（教师强制）"},
    "free": {"en": "prediction: fed with its own output", "zh": "预测：输入模型自己的输出"},
    "wrong": {"en": "wrong", "zh": "错误"},
    "begin": {"en": "BEGIN", "zh": "开始"},
    "end": {"en": "END", "zh": "结束"},
    "weights": {"en": "weights a", "zh": "权重 a"},
}


class Sheet:
    """A drawing of boxes and arrows; (0, 0) is its upper left corner, in pixels."""

    def __init__(self, width: float, height: float, code: str) -> None:
        self.drawing = drawsvg.Drawing(width, height, font_family=FONT)
        self.code = code
        self.head = drawsvg.Marker(-0.1, -0.5, 0.9, 0.5, scale=7, orient="auto")
        self.head.append(drawsvg.Lines(-0.1, 0.5, -0.1, -0.5, 0.9, 0, fill=LINE, close=True))

    def word(self, name: str) -> str:
        """A word in the sheet's language."""
        return WORDS[name][self.code]

    def text(self, x: float, y: float, text: str, size: float = 14, anchor: str = "middle", fill: str = LINE) -> None:
        """Text around (x, y)."""
        self.drawing.append(drawsvg.Text(text, size, x, y, text_anchor=anchor, dominant_baseline="central", fill=fill))

    def box(self, x: float, y: float, text: str, fill: str, width: float = WIDTH, height: float = HEIGHT) -> None:
        """A box around (x, y) with a text in it."""
        self.drawing.append(
            drawsvg.Rectangle(
                x - width / 2, y - height / 2, width, height, rx=7, fill=fill, stroke=LINE, stroke_width=1.2
            )
        )
        self.text(x, y, text)

    def arrow(self, *points: float, dash: str = "none", width: float = 1.4, color: str = LINE) -> None:
        """An arrow through points x1, y1, x2, y2, ..."""
        self.drawing.append(
            drawsvg.Lines(
                *points, fill="none", stroke=color, stroke_width=width, stroke_dasharray=dash, marker_end=self.head
            )
        )

    def up(self, x: float, start: float, end: float) -> None:
        """An arrow from the box at `start` up to the box at `end`."""
        self.arrow(x, start - HEIGHT / 2, x, end + HEIGHT / 2 + 7)

    def right(self, start: float, end: float, y: float) -> None:
        """An arrow from the box at `start` to the box at `end`."""
        self.arrow(start + WIDTH / 2, y, end - WIDTH / 2 - 7, y)


def chain(sheet: Sheet, xs: Sequence[float], y: float, texts: Sequence[str], fill: str = STATE) -> None:
    """Boxes in a row, each with an arrow to the next."""
    for x, text in zip(xs, texts, strict=True):
        sheet.box(x, y, text, fill)
    for left, right in pairwise(xs):
        sheet.right(left, right, y)


def structures(sheet: Sheet) -> None:
    """The five shapes of input and output."""
    names, examples = (sheet.word(name).split("|") for name in ("structures", "examples"))
    shapes = [([0], [0]), ([0], [0, 1, 2]), ([0, 1, 2], [2]), ([0, 1, 2], [2, 3]), ([0, 1, 2], [0, 1, 2])]
    left = 12.0
    for name, example, (inputs, answers) in zip(names, examples, shapes, strict=True):
        steps = max(*inputs, *answers) + 1
        xs = [left + 26 + 58 * step for step in range(steps)]
        chain(sheet, xs, 105, ["h"] * steps)
        for step in inputs:
            sheet.box(xs[step], 175, "x", INPUT)
            sheet.up(xs[step], 175, 105)
        for step in answers:
            sheet.box(xs[step], 35, "y", OUTPUT)
            sheet.up(xs[step], 105, 35)
        middle = (xs[0] + xs[-1]) / 2
        sheet.text(middle, 215, name, 14)
        sheet.text(middle, 237, example, 11, fill="#6a7180")
        left = xs[-1] + 48


def unrolled(sheet: Sheet) -> None:
    """One cell, and the same cell step by step, with the softmax of each step."""
    xs = [60.0 + 105 * step for step in range(4)]
    chain(sheet, xs, 120, ["h₀", "h₁", "h₂", "h₃"])
    for step, x in enumerate(xs[1:], 1):
        sheet.box(x, 195, f"x{'₀₁₂₃'[step]}", INPUT)
        sheet.up(x, 195, 120)
        sheet.box(x, 35, f"p(y{'₀₁₂₃'[step]})", OUTPUT, 64)
        sheet.up(x, 120, 35)
        sheet.text(x + 8, 78, sheet.word("softmax"), 11, "start", "#6a7180")
    for left, right in pairwise(xs):
        sheet.text((left + right) / 2, 107, "U", 12)
    for x in xs[1:]:
        sheet.text(x - 10, 159, "W", 12)


def encoder_decoder(sheet: Sheet) -> None:
    """An encoder that reads three symbols, the context C, and a decoder that writes three."""
    xs, ys = [45.0, 115.0, 185.0], [365.0, 435.0, 505.0]
    chain(sheet, xs, 95, ["h₁", "h₂", "h₃"])
    for step, x in enumerate(xs):
        sheet.box(x, 165, f"x{'₁₂₃'[step]}", INPUT)
        sheet.up(x, 165, 95)
    sheet.box(275, 95, "C", CONTEXT)
    sheet.right(185, 275, 95)
    chain(sheet, ys, 95, ["s₁", "s₂", "s₃"])
    sheet.right(275, 365, 95)
    for step, x in enumerate(ys):
        sheet.box(x, 25, ("y₁", "y₂", sheet.word("end"))[step], OUTPUT, 54)
        sheet.up(x, 95, 25)
        sheet.box(x, 165, (sheet.word("begin"), "y₁", "y₂")[step], INPUT, 60)
        sheet.up(x, 165, 95)
    sheet.text(115, 205, sheet.word("encoder"))
    sheet.text(435, 205, sheet.word("decoder"))


def context_forms(sheet: Sheet) -> None:
    """C as the last state, as a transform of it, and as a transform of all states."""
    for number, formula in enumerate(("C = h₃", "C = tanh(W h₃ + b)", "C = tanh(W h̄ + b)")):
        left = 235.0 * number
        xs = [left + 35 + 62 * step for step in range(3)]
        chain(sheet, xs, 130, ["h₁", "h₂", "h₃"])
        sheet.box(xs[2] if number < 2 else xs[1], 35, "C", CONTEXT)
        if number < 2:
            sheet.up(xs[2], 130, 35)
        else:
            for x in xs:
                sheet.arrow(x, 113, x + (xs[1] - x) * 0.55, 60)
            sheet.text(xs[1] + 66, 76, sheet.word("pool"), 11, fill="#6a7180")
        sheet.text(xs[1], 172, ("last", "projected_last", "projected_all")[number], 13)
        sheet.text(xs[1], 192, formula, 12, fill="#6a7180")


def context_places(sheet: Sheet) -> None:
    """Where C enters the decoder."""
    for number, name in enumerate(("start", "every")):
        left = 350.0 * number
        xs = [left + 110 + 75 * step for step in range(3)]
        sheet.box(left + 30, 115, "C", CONTEXT)
        sheet.right(left + 30, xs[0], 115)
        chain(sheet, xs, 115, ["s₁", "s₂", "s₃"])
        for step, x in enumerate(xs):
            sheet.box(x, 40, f"y{'₁₂₃'[step]}", OUTPUT)
            sheet.up(x, 115, 40)
            if number and step:
                sheet.arrow(left + 30, 132, left + 30, 165 + 6 * step, x, 165 + 6 * step, x, 140)
        sheet.text(left + 150, 205, sheet.word(name), 13)


def feeding(sheet: Sheet) -> None:
    """The decoder in training and in prediction."""
    for number, name in enumerate(("teacher", "free")):
        left = 350.0 * number
        xs = [left + 50 + 105 * step for step in range(3)]
        chain(sheet, xs, 105, ["s₁", "s₂", "s₃"])
        fed = [(sheet.word("begin"), "N", "AY"), (sheet.word("begin"), "K", "AY")][number]
        for step, x in enumerate(xs):
            sheet.box(x, 35, ("K", "AY", "T")[step] if number else ("N", "AY", "T")[step], OUTPUT)
            sheet.up(x, 105, 35)
            sheet.box(x, 180, fed[step], INPUT, 60)
            sheet.up(x, 180, 105)
        if number:
            sheet.text(xs[0] - 28, 35, sheet.word("wrong"), 11, "end", "#b3261e")
            for x, after in pairwise(xs):
                sheet.arrow(x + 22, 35, x + 52, 35, x + 52, 180, after - 38, 180, dash="4 3")
        sheet.text(xs[1], 225, sheet.word(name), 13)


def attention(sheet: Sheet) -> None:
    """A decoder state asks all encoder states; their weighted sum is the context of this step."""
    xs = [45.0, 125.0, 205.0, 285.0]
    for step, (x, weight) in enumerate(zip(xs, (0.1, 0.7, 0.15, 0.05), strict=True)):
        sheet.box(x, 165, f"h{'₁₂₃₄'[step]}", STATE)
        sheet.arrow(x, 147, x + (165 - x) * 0.75, 72, width=0.8 + 5 * weight)
        sheet.text(x + (165 - x) * 0.3 - 20, 122, f"{weight}", 11, fill="#6a7180")
        sheet.box(x, 225, f"x{'₁₂₃₄'[step]}", INPUT, height=28)
        sheet.arrow(x, 211, x, 190)
    sheet.box(165, 48, "cₜ = Σ aₜⱼ hⱼ", CONTEXT, 116)
    sheet.box(400, 48, "sₜ", STATE)
    sheet.arrow(224, 48, 371, 48)
    sheet.arrow(400, 65, 400, 165, 316, 165, dash="4 3")
    sheet.text(360, 180, sheet.word("weights"), 12)
    sheet.box(490, 48, "p(yₜ)", OUTPUT, 62)
    sheet.arrow(422, 48, 452, 48)


def beam(sheet: Sheet) -> None:
    """A beam of two: the best first symbol does not begin the best output."""
    places = {"": (45, 110), "N": (180, 55), "K": (180, 165), "N IY": (320, 22), "N AY": (320, 85), "K N": (320, 165)}
    places |= {"N AY T": (465, 85), "K N T": (465, 165)}
    chances = {"N": "0.4", "K": "0.6", "N IY": "0.2", "N AY": "0.8", "K N": "0.3", "N AY T": "0.9", "K N T": "0.4"}
    for name, (x, y) in places.items():
        kept = name not in ("N IY",)
        sheet.box(x, y, name or sheet.word("begin"), OUTPUT if kept else "#f1f1f1", 78)
        if name:
            above = places[" ".join(name.split()[:-1])]
            sheet.arrow(above[0] + 39, above[1], x - 46, y, width=2.2 if name.startswith("N A") or name == "N" else 1.2)
            sheet.text((above[0] + x) / 2, (above[1] + y) / 2 - 10, chances[name], 11, fill="#6a7180")
    sheet.text(565, 85, "p = 0.288", 13)
    sheet.text(565, 165, "p = 0.072", 13)


FIGURES: dict[str, tuple[Callable[[Sheet], None], int, int]] = {
    "structures": (structures, 900, 250),
    "unrolled": (unrolled, 440, 220),
    "encoder-decoder": (encoder_decoder, 545, 220),
    "context-forms": (context_forms, 680, 205),
    "context-places": (context_places, 640, 220),
    "feeding": (feeding, 670, 240),
    "attention": (attention, 535, 245),
    "beam": (beam, 620, 195),
}


def write_all(folder: Path, code: str) -> None:
    """Write every figure into a folder."""
    folder.mkdir(exist_ok=True)
    for name, (draw, width, height) in FIGURES.items():
        sheet = Sheet(width, height, code)
        draw(sheet)
        sheet.drawing.save_svg(str(folder / f"{name}.svg"))
