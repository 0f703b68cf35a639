// How an input is entered, by the kind of each source: a text, a choice, numbers as JSON or drawn, picture files.

import { html, useMemo, useState } from "./vendor/htm-preact.js";
import { Curve, ImagePad, NumberPad } from "./pads.js";
import { Choice, usePage } from "./picture.js";
import { pictureOf } from "./shapes.js";
import { parsed } from "./state.js";

const LONGEST = 1 << 20; // characters of a picture in the address
const COARSE = 64; // pixels of a side, up to which they are shown as squares
const SIDE = 512; // pixels that larger ones are brought to

// --- texts and numbers --------------------------------------------------------------------------------

const Area = ({ id, value, set, rows = 3, hint, lines }) => html`
  <textarea id=${id} rows=${rows} dir="auto" value=${value} spellcheck=${false} aria-describedby=${hint && `${id}-hint`} data-lines=${lines}
    onInput=${(event) => set(event.currentTarget.value)}></textarea>
  ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}`;

const Text = (props) => html`<${Area} ...${props} rows=${2} hint=${usePage().t("typed")} />`;

const Line = ({ id, value, set }) =>
  html`<input id=${id} dir="auto" value=${value} onInput=${(event) => set(event.currentTarget.value)} />`;

const Turns = (props) => html`<${Area} ...${props} lines hint=${usePage().t("turns.hint")} />`;

const Times = (props) => html`<${Area} ...${props} lines hint=${usePage().t("times.hint")} />`;

/** Numbers as JSON; vectors and frames can be drawn too, as a picture if they are one. */
function Numbers({ id, side, value, set, examples }) {
  const { t } = usePage();
  const shape = useMemo(() => pictureOf(side, examples), [side, examples]);
  const [way, choose] = useState(shape?.sure ? "picture" : "curve");
  const hint = t(`numbers.${side.kind}`, { count: side.numbers ?? "?" });
  return html`
    <${Area} id=${id} value=${value} set=${set} rows=${3} hint=${t("numbers.hint", { shape: hint })} />
    ${side.kind !== "grid" && html`
      <details open=${shape?.sure}><summary>${t("draw")}</summary>
        ${shape && html`<${Choice} label=${t("draw.way")} value=${way} onChoose=${choose} options=${["picture", "curve"].map((key) => [key, t(`draw.${key}`)])} />`}
        ${shape && way === "picture" ? html`<${NumberPad} shape=${shape} value=${value} set=${set} />` : html`<${Curve} side=${side} value=${value} set=${set} examples=${examples} />`}
      </details>`}`;
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

export const Thumb = ({ content }) => html`<img class="thumb" alt="" src=${shown(content)} />`;

/** One file, or several in order as a JSON list. */
function Files({ id, side, value, set, examples }) {
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
    <div class=${`thumbs ${Math.max(...(side.pixels ?? [])) <= COARSE ? "coarse" : ""}`}>${chosen.map((content) => html`<${Thumb} content=${content} />`)}</div>
    ${!many && html`<details open><summary>${t("draw")}</summary><${ImagePad} side=${side} value=${value} set=${set} examples=${examples} /></details>`}`;
}

// --- by kind ------------------------------------------------------------------------------------------

const same = (text) => text;
const numbers = { Field: Numbers, read: JSON.parse, write: JSON.stringify };
const line = { Field: Line, read: same, write: String };
const lines = { read: (typed) => typed.split("\n").filter(Boolean), write: (values) => [values].flat().join("\n") };
const text = { Field: Text, read: (typed) => typed.replace(/[\r\n]+$/, ""), write: same }; // a line end ends what is typed

/** By the kind of a source: its field, what its text becomes when it is sent, and the text of a value. */
const KINDS = {
  text,
  long_text: text,
  turns: { ...lines, Field: Turns },
  calendar: { ...lines, Field: Times },
  category: line,
  tags: line,
  vector: numbers,
  frames: numbers,
  grid: numbers,
  image: { Field: Files, read: same, write: same },
  images: { Field: Files, read: (typed) => JSON.parse(typed || "[]"), write: JSON.stringify },
};

const kind = (side) => KINDS[side.turns ? "turns" : side.kind] ?? KINDS.text;

/** The sources that an input has something for. */
export const reading = (card) => card.sources.filter((side) => side.kind !== "none");

/** An input, as the server takes it, as the values of its sources, and as the texts of their fields. */
export const asParts = (card, input) => (reading(card).length > 1 ? input : [input]);
export const asTexts = (card, input) => asParts(card, input).map((value, place) => kind(reading(card)[place]).write(value));

/** A field for each source; `values` are their texts. */
export function Fields({ name, card, values, set, labelled = true }) {
  const { t } = usePage();
  const sides = reading(card);
  const examples = useMemo(() => sides.map((_, place) => card.examples.map((input) => asParts(card, input)[place])), [card]);
  return sides.map((side, place) => {
    const { Field } = kind(side);
    const id = `${name}-${place}`;
    const setPart = (value) => set(sides.map((_, other) => (other === place ? value : (values[other] ?? ""))));
    return html`
      <div class="field" key=${id}>
        <label for=${id} class=${labelled || sides.length > 1 ? "" : "unseen"}>${sides.length > 1 ? `${side.name} (${side.kind})` : t(name)}</label>
        <${Field} id=${id} side=${side} value=${values[place] ?? ""} set=${setPart} examples=${examples[place]} />
      </div>`;
  });
}

/** The values of the sources; a text that must be JSON and is not is a `SyntaxError`. */
export const valuesOf = (sides, texts) => sides.map((side, place) => kind(side).read(texts[place] ?? ""));

/** These as the server takes an input. */
export const asInput = (values) => (values.length === 0 ? null : values.length === 1 ? values[0] : values);

/** A reference as the server takes a target. */
export const asTarget = (side, text) => (["number", "numbers", "series"].includes(side.kind) ? JSON.parse(text) : text);
