// Areas to draw in: a picture by hand, of the size and between the numbers that the model reads, or a curve.

import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { usePage } from "./picture.js";
import { rangeOf } from "./shapes.js";
import { parsed } from "./state.js";

const SIDE = 224; // pixels of an area, about
const [THIN, THICK] = [2, 1 / 12]; // the width of a line: at least so many of the model's pixels, and this share of the picture
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

const within = (place, count) => Math.max(0, Math.min(count - 1, place));

/** The mean of each of the model's pixels, from 0 to 1. */
function averages(canvas, height, width, scale) {
  const { data } = canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, canvas.width, canvas.height);
  const rows = Array.from({ length: height }, () => Array(width).fill(0));
  for (let y = 0; y < height * scale; y++)
    for (let x = 0; x < width * scale; x++) rows[Math.floor(y / scale)][Math.floor(x / scale)] += data[4 * (y * width * scale + x)];
  return rows.map((row) => row.map((sum) => sum / (255 * scale * scale)));
}

/** Rows of light, from 0 to 1, as pixels. */
export function painted(rows) {
  const canvas = Object.assign(document.createElement("canvas"), { width: rows[0].length, height: rows.length });
  const picture = canvas.getContext("2d").createImageData(canvas.width, canvas.height);
  rows.flat().forEach((light, place) => picture.data.set([255 * light, 255 * light, 255 * light, 255], 4 * place));
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

/**
 * An area of `height` x `width` pixels for a pointer, or for arrow keys and Space. `content` is what it shows at first: a
 * canvas or a picture; `onDrawn(rows)` is called with rows of light from 0 to 1 when a line ends.
 */
export function Pad({ height, width, content, onDrawn, bright = false }) {
  const { t } = usePage();
  const canvas = useRef();
  const last = useRef();
  const [cell, setCell] = useState();
  const scale = Math.max(1, Math.ceil(SIDE / Math.max(height, width)));
  const pen = () => Object.assign(canvas.current.getContext("2d", { willReadFrequently: true }), {
    strokeStyle: bright ? "#000" : "#fff", fillStyle: bright ? "#000" : "#fff", lineWidth: Math.max(THIN, THICK * Math.min(height, width)) * scale, lineCap: "round", imageSmoothingEnabled: false,
  });
  const clear = () => Object.assign(pen(), { fillStyle: bright ? "#fff" : "#000" }).fillRect(0, 0, width * scale, height * scale);
  useEffect(() => {
    clear();
    if (content) pen().drawImage(content, 0, 0, width * scale, height * scale);
  }, [content, bright, height, width]);
  const done = () => (last.current = undefined, onDrawn(averages(canvas.current, height, width, scale)));
  const draw = (event) => {
    if (!event.buttons) return;
    const box = canvas.current.getBoundingClientRect();
    const place = [((event.clientX - box.left) / box.width) * width * scale, ((event.clientY - box.top) / box.height) * height * scale];
    const line = pen();
    line.beginPath();
    line.moveTo(...(last.current ?? place));
    line.lineTo(...place);
    line.stroke();
    last.current = place;
  };
  const begin = (event) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    last.current = undefined;
    setCell(undefined);
    draw(event);
  };
  const end = () => last.current && done();
  const onKeyDown = (event) => {
    const move = MOVES[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    const [row, column] = cell ?? [0, -1];
    if (move) return setCell(cell ? [within(row + move[0], height), within(column + move[1], width)] : [0, 0]);
    if (cell) pen().fillRect(column * scale, row * scale, scale, scale), done();
  };
  const share = (place, count) => `${(100 * place) / count}%`;
  return html`
    <div class="board">
      <canvas class="pad" ref=${canvas} width=${width * scale} height=${height * scale} role="application" tabindex="0" aria-label=${t("draw.pad")}
        onPointerDown=${begin} onPointerMove=${draw} onPointerUp=${end} onPointerCancel=${end} onKeyDown=${onKeyDown}></canvas>
      ${cell && html`<span class="cell" style=${{ top: share(cell[0], height), left: share(cell[1], width), height: share(1, height), width: share(1, width) }}></span>`}
    </div>
    <div class="fields">
      <button type="button" class="quiet" onClick=${() => (clear(), done())}>${t("draw.clear")}</button>
      <span class="hint">${t("draw.size", { width, height })}</span>
    </div>`;
}

/** A picture whose pixels are the numbers of a vector or of frames. */
export function NumberPad({ shape, value, set }) {
  const { height, width, low, high, whole } = shape;
  const own = useRef();
  const [content, setContent] = useState();
  useEffect(() => {
    const numbers = parsed(value || undefined, undefined);
    if (value === own.current || !Array.isArray(numbers)) return;
    const rows = shape.rows(numbers);
    if (rows.length === height && rows.every((row) => row?.length === width))
      setContent(painted(rows.map((row) => row.map((number) => (number - low) / (high - low)))));
  }, [value, shape]);
  const onDrawn = (rows) => {
    const number = (light) => (whole ? Math.round(low + (high - low) * light) : Number((low + (high - low) * light).toFixed(3)));
    own.current = JSON.stringify(shape.value(rows.map((row) => row.map(number))));
    set(own.current);
  };
  return html`<${Pad} height=${height} width=${width} content=${content} onDrawn=${onDrawn} />`;
}

/** A picture, on white if the examples are mostly bright. */
export function ImagePad({ side, value, set, examples }) {
  const [height, width] = side.pixels ?? [28, 28];
  const own = useRef();
  const [content, setContent] = useState();
  const [bright, setBright] = useState(false);
  useEffect(() => {
    if (!examples.length) return;
    loaded(examples[0]).then((picture) => {
      const canvas = Object.assign(document.createElement("canvas"), { width, height });
      canvas.getContext("2d").drawImage(picture, 0, 0, width, height);
      const light = averages(canvas, height, width, 1).flat();
      setBright(light.reduce((sum, share) => sum + share, 0) > light.length / 2);
    });
  }, [side]);
  useEffect(() => {
    if (value && value !== own.current) loaded(value).then(setContent, () => {});
  }, [value]);
  const onDrawn = (rows) => {
    own.current = painted(rows).toDataURL().split(",")[1];
    set(own.current);
  };
  return html`<${Pad} height=${height} width=${width} content=${content} onDrawn=${onDrawn} bright=${bright} />`;
}

/** A picture of base64, once it is decoded. */
function loaded(base64) {
  const picture = new Image();
  picture.src = `data:image/png;base64,${base64}`;
  return picture.decode().then(() => picture);
}

/** A curve under the pointer: for a vector its numbers, for frames one number over all steps. */
export function Curve({ side, value, set, examples }) {
  const { t } = usePage();
  const frames = side.kind === "frames";
  const [number, setNumber] = useState(0);
  const [[low, high], setRange] = useState(() => rangeOf(side, examples).map((bound) => Number(bound.toPrecision(3))));
  const [steps, setSteps] = useState(examples[0]?.length ?? 20);
  const [width, height] = [300, 120];
  const count = side.numbers ?? 1;
  const held = parsed(value, undefined);
  const middle = Math.max(low, Math.min(high, 0));
  const rows = Array.isArray(held) ? held : frames ? Array.from({ length: steps }, () => Array(count).fill(middle)) : Array(count).fill(middle);
  const values = frames ? rows.map((row) => row?.[number] ?? 0) : rows;
  const across = width / values.length;
  const y = (level) => height * (1 - (level - low) / (high - low || 1));
  const drawn = (event) => {
    if (!event.buttons) return;
    const box = event.currentTarget.getBoundingClientRect();
    const step = within(Math.floor((event.clientX - box.left) / (box.width / values.length)), values.length);
    const level = Number((low + (high - low) * (1 - (event.clientY - box.top) / box.height)).toFixed(3));
    const next = rows.map((row, place) => (place !== step ? row : frames ? row.map((old, n) => (n === number ? level : old)) : level));
    set(JSON.stringify(next));
  };
  const field = (label, current, change) => html`
    <label>${label} <input type="number" step="any" value=${current} onInput=${(event) => change(Number(event.currentTarget.value))} /></label>`;
  return html`
    <div class="fields">
      ${frames && field(t("draw.steps"), steps, (length) => {
        setSteps(Math.max(1, length));
        set(JSON.stringify(Array.from({ length: Math.max(1, length) }, (_, step) => rows[step] ?? Array(count).fill(middle))));
      })}
      ${frames && count > 1 && field(t("draw.number"), number + 1, (chosen) => setNumber(within(chosen - 1, count)))}
      ${field(t("draw.from"), low, (bottom) => setRange([bottom, high]))}
      ${field(t("draw.to"), high, (top) => setRange([low, top]))}
    </div>
    <svg class="pad" viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${t("draw.curve")} onPointerDown=${drawn} onPointerMove=${drawn}>
      ${values.map((level, step) => html`
        <rect class="share" x=${step * across + 0.5} width=${Math.max(1, across - 1)} y=${Math.min(y(level), y(middle))} height=${Math.max(1, Math.abs(y(level) - y(middle)))} />`)}
    </svg>`;
}
