// From inputs to arrays and from ids to words, as in training, with the vocabulary files. What is wrong with an input is
// thrown as the end of a sentence that begins with its name.

import { readNumbers, scaled, SHAPES } from "./numbers.js";
import { inColors, readPixels, resized } from "./pictures.js";
import { BOS, EOS, PAD, UNK, Vocabulary } from "./symbols.js";
import { encodedIds, nothing, sizeOf } from "./tensors.js";
import { asText, joinLines, LINE_END, normalizer, readTags, readTurns, splitLines, stripped, TOKENIZERS } from "./text.js";

/** @typedef {import("./tensors.js").Encoded} Encoded */

/** One side of a row. */
export class Codec {
  steps = false; // whether it is a sequence
  ends = 0; // how many end symbols an encoded value has
  unit = "steps";
  reads = true;

  /** @param {any} value the content of its vocabulary file */
  constructor(value) {
    this.kind = /** @type {string} */ (value.kind ?? "text");
  }

  /** The value of an input. @param {unknown} content @returns {any} */
  readInput(content) {
    return content;
  }

  /** A value as an array. @param {any} value @returns {Encoded} */
  encode(value) {
    throw new Error("cannot be read");
  }

  /** How many symbols of an encoded value are unknown. @param {Encoded} array @returns {number} */
  unknown(array) {
    return 0;
  }

  /** One step of a live stream. @param {unknown} step @returns {Encoded} */
  readStep(step) {
    throw new Error("has no steps");
  }

  /** What each encoder state has read, as a view names it; null is an end symbol. @param {any} value @param {Encoded} array @returns {(string | null)[]} */
  tokensRead(value, array) {
    return Array.from({ length: array.steps }, (_, step) => String(step + 1));
  }

  /** The places of unknown tokens among these. @param {Encoded} array @returns {number[]} */
  unknownPlaces(array) {
    return [];
  }
}

/** A word's characters as `width` ids; a longer word has its beginning and its end. @param {string} word @param {Vocabulary} letters @param {number} width */
function spelled(word, letters, width) {
  const characters = [...word];
  const end = Math.floor(width / 2);
  const shown = characters.length > width ? [...characters.slice(0, width - end), ...characters.slice(characters.length - end)] : characters;
  const ids = word ? shown.map((letter) => letters.id(letter)) : [EOS];
  return [...ids, ...new Array(width - ids.length).fill(PAD)];
}

/** A text, or the turns of a dialogue; a value is the list of its turns. */
export class Text extends Codec {
  steps = true;
  ends = 1;
  unit = "tokens";

  /** @param {any} value */
  constructor(value) {
    super(value);
    if (!Object.hasOwn(TOKENIZERS, value.tokens)) throw new Error(`unknown tokens ${value.tokens}`);
    this.normalize = normalizer(value.normalize, value.lowercase);
    this.tokenizer = TOKENIZERS[value.tokens](value);
    this.vocabulary = new Vocabulary(value.symbols);
    this.turns = /** @type {number | null} */ (value.turns ?? null);
    this.trims = Boolean(value.trims);
    this.letters = value.characters ? new Vocabulary(value.characters.symbols) : null;
    this.width = /** @type {number} */ (value.characters?.width ?? 0);
  }

  /** The id before the first symbol. */
  get begin() {
    return BOS;
  }

  /** @param {unknown} content @returns {string[]} */
  readInput(content) {
    return readTurns(content, this.turns, this.trims);
  }

  /** The symbols of a text. @param {string} text @returns {string[]} */
  split(text) {
    return this.tokenizer.split(this.normalize(text));
  }

  /** The symbols of all turns, with an empty symbol where the next begins. @param {string[]} turns @returns {string[]} */
  splitTurns(turns) {
    return turns.flatMap((text) => ["", ...this.split(text)]).slice(1);
  }

  /** @param {string[]} turns @returns {Encoded} */
  encode(turns) {
    const ids = turns.flatMap((text) => [...this.split(text).map((symbol) => this.vocabulary.id(symbol)), EOS]);
    const letters = this.letters;
    if (!letters) return encodedIds(ids);
    const words = [...this.splitTurns(turns), ""];
    const rows = ids.flatMap((id, place) => [id, ...spelled(words[place], letters, this.width)]);
    return { type: "int64", data: Int32Array.from(rows), shape: [1 + this.width], steps: ids.length };
  }

  /** @param {Encoded} array */
  unknown(array) {
    return this.unknownPlaces(array).length;
  }

  /** A word with its spelling is unknown if one of its characters is. @param {Encoded} array */
  unknownPlaces({ data, shape, steps }) {
    const width = sizeOf(shape);
    const places = Array.from({ length: steps }, (_, step) => step);
    return places.filter((step) => data.subarray(step * width + (width > 1 ? 1 : 0), (step + 1) * width).includes(UNK));
  }

  /** @param {unknown} step */
  readStep(step) {
    const ids = this.encode([asText(step)]);
    const steps = ids.steps - this.ends;
    if (steps !== 1) throw new Error(`has ${steps} tokens; a stream has one per line`);
    return { ...ids, data: ids.data.subarray(0, sizeOf(ids.shape)), steps: 1 };
  }

  /** The text of symbols. @param {readonly string[]} symbols @returns {string} */
  join(symbols) {
    return this.tokenizer.join(symbols);
  }

  /** @param {string[]} turns @param {Encoded} array */
  tokensRead(turns, array) {
    return [...this.splitTurns(turns).map((symbol) => symbol || null), null].slice(0, array.steps);
  }
}

/** A text whose line ends are symbols and that has no end. */
class LongText extends Text {
  ends = 0;

  /** A line end, if there is one. */
  get begin() {
    return this.vocabulary.has(LINE_END) ? this.vocabulary.id(LINE_END) : BOS;
  }

  /** @param {string} text */
  split(text) {
    return splitLines(this.tokenizer.split, this.normalize(text));
  }

  /** @param {string[]} turns */
  encode(turns) {
    return encodedIds(turns.flatMap((text) => this.split(text).map((symbol) => this.vocabulary.id(symbol))));
  }

  /** @param {readonly string[]} symbols */
  join(symbols) {
    return joinLines(this.tokenizer.join, symbols);
  }
}

/** One of several names, which may be unknown; as a target, a label. */
export class Category extends Codec {
  /** @param {any} value */
  constructor(value) {
    super(value);
    this.vocabulary = new Vocabulary(value.symbols);
    this.steps = this.kind === "labels";
  }

  /** @param {unknown} content @returns {string} */
  readInput(content) {
    const text = typeof content === "boolean" ? String(content) : stripped(asText(content));
    if (!text) throw new Error("is empty");
    return text;
  }

  /** @param {string} value */
  encode(value) {
    return encodedIds([this.vocabulary.id(value)]);
  }

  /** @param {Encoded} array */
  unknown({ data }) {
    return data.filter((id) => id === UNK).length;
  }

  /** @param {Encoded} array */
  unknownPlaces(array) {
    return this.unknown(array) ? [0] : [];
  }

  /** @param {string} value */
  tokensRead(value) {
    return [value];
  }
}

/** A set of tags: how many are unknown, then 1 for each that is there. */
class Tags extends Codec {
  /** @param {any} value */
  constructor(value) {
    super(value);
    this.separator = String(value.separator);
    this.vocabulary = new Vocabulary(value.symbols);
  }

  /** @param {unknown} content @returns {string[]} */
  readInput(content) {
    return readTags(content, this.separator);
  }

  /** @param {string[]} tags @returns {Encoded} */
  encode(tags) {
    const symbols = this.vocabulary.symbols;
    const known = new Set(tags.filter((tag) => this.vocabulary.has(tag)));
    const row = [tags.length - known.size, ...symbols.map((symbol) => Number(known.has(symbol)))];
    return { type: "float32", data: Float32Array.from(row), shape: [row.length], steps: 1 };
  }

  /** @param {Encoded} array */
  unknown({ data }) {
    return data[0];
  }

  /** @param {Encoded} array */
  unknownPlaces(array) {
    return this.unknown(array) ? [0] : [];
  }

  /** @param {string[]} tags */
  tokensRead(tags) {
    return [tags.join(this.separator)];
  }
}

/** No source at all; as a target, the next symbol of the source. */
class Nothing extends Codec {
  reads = false;

  readInput() {
    return "";
  }

  encode() {
    return nothing();
  }

  tokensRead() {
    return [null];
  }
}

/** Scaled numbers; as targets `number` and `numbers`. */
export class Numbers extends Codec {
  /** @param {any} value */
  constructor(value) {
    super(value);
    this.steps = this.kind === "frames" || this.kind === "numbers";
    this.bits = Boolean(value.bits);
    const [mean, deviation] = [value.mean, value.deviation].map((list) => list.map(Math.fround));
    const means = (value.means ?? value.mean).map(Math.fround);
    this.scale = { mean, deviation, means, missing: value.missing ?? "refuse", steps: this.steps };
    this.width = /** @type {number | null} */ (value.width ?? null);
  }

  /** Numbers per step. */
  get size() {
    return this.scale.mean.length;
  }

  /** @param {unknown} content */
  readInput(content) {
    const values = readNumbers(content, this.scale.missing !== "refuse");
    return (SHAPES[this.kind] ?? SHAPES.vector)(values, this.width);
  }

  /** @param {any} value @returns {Encoded} */
  encode(value) {
    const data = scaled(value, this.scale);
    return { type: "float32", data, shape: [this.size], steps: data.length / this.size };
  }

  /** @param {unknown} step */
  readStep(step) {
    if (this.kind !== "frames") throw new Error("has no steps");
    const { data } = readNumbers(step, this.scale.missing !== "refuse");
    if (this.scale.missing === "previous" && data.some(Number.isNaN)) {
      throw new Error("has a missing number, which only a whole sequence can fill from the previous step");
    }
    return this.encode({ data, dims: [1, data.length] });
  }

  /** Numbers of a graph in the scale of the data; for bits the probabilities. @param {Float32Array} values @returns {number[]} */
  restored(values) {
    const { mean, deviation } = this.scale;
    if (this.kind === "numbers" && this.bits) return [...values];
    return Array.from(values, (value, place) => Math.fround(Math.fround(value * deviation[place % this.size]) + mean[place % this.size]));
  }
}

/** A picture of pixels, or a sequence of pictures. */
class Pictures extends Codec {
  /** @param {any} value */
  constructor(value) {
    super(value);
    this.steps = this.kind === "images";
    this.height = Number(value.height);
    this.width = Number(value.width);
    this.color = Boolean(value.color);
  }

  /** @param {unknown} content */
  readInput(content) {
    if (!this.steps) return [readPixels(content)];
    if (!Array.isArray(content)) throw new Error("must be a list of images");
    if (!content.length) throw new Error("is empty");
    return content.map(readPixels);
  }

  /** @param {import("./pictures.js").Pixels[]} pictures @returns {Encoded} */
  encode(pictures) {
    const each = pictures.map((picture) => inColors(resized(picture, this.height, this.width), this.color).data);
    const shape = [this.height, this.width, this.color ? 3 : 1];
    const data = new Uint8Array(each.length * sizeOf(shape));
    each.forEach((pixels, place) => data.set(pixels, place * pixels.length));
    return { type: "uint8", data, shape, steps: each.length };
  }

  /** @param {unknown} step */
  readStep(step) {
    return this.encode([readPixels(step)]);
  }
}

/** The kinds of sides, from the contents of their vocabulary files. @type {Record<string, new (value: any) => Codec>} */
export const KINDS = {
  text: Text,
  long_text: LongText,
  category: Category,
  label: Category,
  labels: Category,
  tags: Tags,
  none: Nothing,
  next: Nothing,
  vector: Numbers,
  frames: Numbers,
  grid: Numbers,
  number: Numbers,
  numbers: Numbers,
  image: Pictures,
  images: Pictures,
};

/** The side of a vocabulary file. @param {any} value @returns {Codec} */
export function codecOf(value) {
  const kind = value.kind ?? "text";
  if (!Object.hasOwn(KINDS, kind)) throw new Error(`unknown kind ${kind}; a later version of this package may know it`);
  return new KINDS[kind](value);
}
