// How an input is entered, by the kind of each source: a text, a choice, numbers as JSON or drawn, picture files.

import { html, useRef, useState } from "./vendor/htm-preact.js";
import { usePage } from "./picture.js";
import { parsed } from "./state.js";

const LONGEST = 1 << 20; // characters of a picture in the address
const SIDE = 512; // pixels that larger ones are brought to

// --- texts and numbers --------------------------------------------------------------------------------

const Area = ({ id, value, set, rows = 3, hint }) => html`
  <textarea id=${id} rows=${rows} dir="auto" value=${value} spellcheck=${false} aria-describedby=${hint && `${id}-hint`}
    onInput=${(event) => set(event.currentTarget.value)}></textarea>
  ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}`;

const Line = ({ id, value, set }) =>
  html`<input id=${id} dir="auto" value=${value} onInput=${(event) => set(event.currentTarget.value)} />`;

const Turns = (props) => html`<${Area} ...${props} hint=${usePage().t("turns.hint")} />`;

/** Numbers as JSON; vectors and frames can be drawn too. */
function Numbers({ id, side, value, set }) {
  const { t } = usePage();
  const shape = t(`numbers.${side.kind}`, { count: side.numbers ?? "?" });
  return html`
    <${Area} id=${id} value=${value} set=${set} rows=${4} hint=${t("numbers.hint", { shape })} />
    ${side.kind !== "grid" && html`<details><summary>${t("draw")}</summary><${Curve} side=${side} value=${value} set=${set} /></details>`}`;
}

/** A curve under the pointer: for a vector its numbers, for frames one number over all steps. */
function Curve({ side, value, set }) {
  const { t } = usePage();
  const frames = side.kind === "frames";
  const [number, setNumber] = useState(0);
  const [[low, high], setRange] = useState([-1, 1]);
  const [steps, setSteps] = useState(20);
  const [width, height] = [300, 120];
  const width_ = side.numbers ?? 1;
  const held = parsed(value, undefined);
  const rows = Array.isArray(held) ? held : frames ? Array.from({ length: steps }, () => Array(width_).fill(0)) : Array(width_).fill(0);
  const values = frames ? rows.map((row) => row?.[number] ?? 0) : rows;
  const across = width / values.length;
  const y = (level) => height * (1 - (level - low) / (high - low || 1));
  const drawn = (event) => {
    if (!event.buttons) return;
    const box = event.currentTarget.getBoundingClientRect();
    const step = Math.max(0, Math.min(values.length - 1, Math.floor((event.clientX - box.left) / (box.width / values.length))));
    const level = Number((low + (high - low) * (1 - (event.clientY - box.top) / box.height)).toFixed(3));
    const next = rows.map((row, place) => (place !== step ? row : frames ? row.map((old, n) => (n === number ? level : old)) : level));
    set(JSON.stringify(next));
  };
  const field = (label, current, change) => html`
    <label>${label} <input type="number" value=${current} onInput=${(event) => change(Number(event.currentTarget.value))} /></label>`;
  return html`
    <div class="fields">
      ${frames && field(t("draw.steps"), steps, (count) => {
        setSteps(Math.max(1, count));
        set(JSON.stringify(Array.from({ length: Math.max(1, count) }, (_, step) => rows[step] ?? Array(width_).fill(0))));
      })}
      ${frames && width_ > 1 && field(t("draw.number"), number + 1, (chosen) => setNumber(Math.max(0, Math.min(width_ - 1, chosen - 1))))}
      ${field(t("draw.from"), low, (bottom) => setRange([bottom, high]))}
      ${field(t("draw.to"), high, (top) => setRange([low, top]))}
    </div>
    <svg class="pad" viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${t("draw.pad")} onPointerDown=${drawn} onPointerMove=${drawn}>
      ${values.map((level, step) => html`
        <rect class="share" x=${step * across + 0.5} width=${Math.max(1, across - 1)} y=${Math.min(y(level), y(0))} height=${Math.max(1, Math.abs(y(level) - y(0)))} />`)}
    </svg>`;
}

// --- pictures -----------------------------------------------------------------------------------------

const encoded = (blob) =>
  new Promise((done) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.readAsDataURL(blob);
  });

/** A file in base64, as it is unless it is too long for the address. */
async function shrunk(file) {
  const whole = await encoded(file);
  if (whole.length <= LONGEST) return [whole, false];
  const picture = await createImageBitmap(file);
  const scale = SIDE / Math.max(picture.width, picture.height, SIDE);
  const canvas = Object.assign(document.createElement("canvas"), { width: picture.width * scale, height: picture.height * scale });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return [await encoded(await new Promise((done) => canvas.toBlob(done))), true];
}

/** The media type that a file begins like, which a browser needs to show it. */
const shown = (content) => `data:image/${{ i: "png", "/": "jpeg", R: "gif", U: "webp", Q: "bmp" }[content[0]] ?? "png"};base64,${content}`;

const Thumb = ({ content }) => html`<img class="thumb" alt=${usePage().t("file.chosen")} src=${shown(content)} />`;

/** One file, or several in order as a JSON list. */
function Files({ id, side, value, set }) {
  const { t } = usePage();
  const [small, setSmall] = useState(false);
  const many = side.kind === "images";
  const chosen = many ? parsed(value || "[]", []) : value ? [value] : [];
  const onChange = async (event) => {
    const read = await Promise.all([...event.currentTarget.files].map(shrunk));
    setSmall(read.some(([, was]) => was));
    const contents = read.map(([content]) => content);
    set(many ? JSON.stringify(contents) : (contents[0] ?? ""));
  };
  return html`
    <input id=${id} type="file" accept="image/png,image/jpeg,image/webp,image/gif,image/bmp" multiple=${many} onChange=${onChange} />
    ${small && html`<p class="hint">${t("file.shrunk", { side: SIDE })}</p>`}
    <div class="thumbs">${chosen.map((content) => html`<${Thumb} content=${content} />`)}</div>
    ${!many && html`<details><summary>${t("draw")}</summary><${Pad} side=${side} set=${set} /></details>`}`;
}

/** A picture drawn by hand, white on black, of the size that the model reads. */
function Pad({ side, set }) {
  const { t } = usePage();
  const canvas = useRef();
  const last = useRef();
  const [height, width] = side.pixels ?? [28, 28];
  const scale = Math.max(1, Math.ceil(224 / Math.max(height, width)));
  const context = () => canvas.current.getContext("2d");
  const drawn = (event) => {
    if (!event.buttons) return;
    const box = canvas.current.getBoundingClientRect();
    const place = [((event.clientX - box.left) / box.width) * width * scale, ((event.clientY - box.top) / box.height) * height * scale];
    const pen = context();
    Object.assign(pen, { strokeStyle: "#fff", lineWidth: 1.8 * scale, lineCap: "round" });
    pen.beginPath();
    pen.moveTo(...(event.type === "pointerdown" ? place : (last.current ?? place)));
    pen.lineTo(...place);
    pen.stroke();
    last.current = place;
  };
  const use = () => {
    const small = Object.assign(document.createElement("canvas"), { width, height });
    const pen = small.getContext("2d");
    pen.fillRect(0, 0, width, height);
    pen.drawImage(canvas.current, 0, 0, width, height);
    set(small.toDataURL().split(",")[1]);
  };
  return html`
    <canvas class="pad" ref=${canvas} width=${width * scale} height=${height * scale} role="img" aria-label=${t("draw.pad")}
      onPointerDown=${drawn} onPointerMove=${drawn}></canvas>
    <div class="fields">
      <button type="button" class="quiet" onClick=${use}>${t("draw.use")}</button>
      <button type="button" class="quiet" onClick=${() => context().clearRect(0, 0, width * scale, height * scale)}>${t("draw.clear")}</button>
    </div>`;
}

// --- by kind ------------------------------------------------------------------------------------------

const same = (text) => text;
const numbers = { Field: Numbers, read: JSON.parse };

/** By the kind of a source: its field, and what its text becomes when it is sent. */
const KINDS = {
  text: { Field: Area, read: same },
  long_text: { Field: Area, read: same },
  turns: { Field: Turns, read: (text) => text.split("\n").filter(Boolean) },
  category: { Field: Line, read: same },
  vector: numbers,
  frames: numbers,
  grid: numbers,
  image: { Field: Files, read: same },
  images: { Field: Files, read: (text) => JSON.parse(text || "[]") },
};

const kind = (side) => KINDS[side.turns ? "turns" : side.kind] ?? KINDS.text;

/** The sources that an input has something for. */
export const reading = (card) => card.sources.filter((side) => side.kind !== "none");

/** A field for each source; `values` are their texts. */
export function Fields({ name, sides, values, set, labelled = true }) {
  const { t } = usePage();
  return sides.map((side, place) => {
    const { Field } = kind(side);
    const id = `${name}-${place}`;
    const setPart = (value) => set(sides.map((_, other) => (other === place ? value : (values[other] ?? ""))));
    return html`
      <div class="field" key=${id}>
        <label for=${id} class=${labelled || sides.length > 1 ? "" : "unseen"}>${sides.length > 1 ? `${side.name} (${side.kind})` : t(name)}</label>
        <${Field} id=${id} side=${side} value=${values[place] ?? ""} set=${setPart} />
      </div>`;
  });
}

/** The values of the sources; a text that must be JSON and is not is a `SyntaxError`. */
export const valuesOf = (sides, texts) => sides.map((side, place) => kind(side).read(texts[place] ?? ""));

/** These as the server takes an input. */
export const asInput = (values) => (values.length === 0 ? null : values.length === 1 ? values[0] : values);

/** A reference as the server takes a target. */
export const asTarget = (side, text) => (["number", "numbers"].includes(side.kind) ? JSON.parse(text) : text);
