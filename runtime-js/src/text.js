// Text to symbols and back: normal forms, the table of tokenizers, the turns of a dialogue, the lines of a long text.

import { bpe, joinPieces, unigram } from "./subwords.js";

export const LINE_END = "\n";
const WHITE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"; // of Python's str.split
const WHITE_SPACE = new RegExp(`[${WHITE}]+`, "u");
const AT_ENDS = new RegExp(`^[${WHITE}]+|[${WHITE}]+$`, "gu");

/** A text without white space at its ends. @param {string} text */
export const stripped = (text) => text.replace(AT_ENDS, "");

/** @typedef {{split: (text: string) => string[], join: (symbols: readonly string[]) => string}} Tokenizer */

/** The tokenizers by their names, from the options and what was learned. @type {Record<string, (value: any) => Tokenizer>} */
export const TOKENIZERS = {
  chars: () => ({ split: (text) => [...text], join: (symbols) => symbols.join("") }),
  words: () => ({ split: (text) => text.split(WHITE_SPACE).filter(Boolean), join: (symbols) => symbols.join(" ") }),
  split: ({ options: { separator } }) => ({ split: (text) => text.split(separator).filter(Boolean), join: (symbols) => symbols.join(separator) }),
  bpe: ({ learned }) => ({ split: bpe(learned), join: joinPieces }),
  unigram: ({ learned }) => ({ split: unigram(learned), join: joinPieces }),
};

const FORMS = ["nfc", "nfd", "nfkc", "none"];

/** The function that every text passes first. @param {string} form @param {boolean} lowercase @returns {(text: string) => string} */
export function normalizer(form, lowercase) {
  if (!FORMS.includes(form)) throw new Error(`unknown form ${form}`);
  return (text) => {
    const normal = form === "none" ? text : text.normalize(form.toUpperCase());
    return lowercase ? normal.toLowerCase() : normal;
  };
}

/** The content of an input as text. @param {unknown} value @returns {string} */
export function asText(value) {
  if (typeof value === "string") {
    if (value.includes("\0")) throw new Error("contains a NUL character");
    if (/\p{Cs}/u.test(value)) throw new Error("is not UTF-8 text");
    return value;
  }
  if (typeof value === "number" && Number.isFinite(value)) return String(value);
  throw new Error(`is not text but ${value === null || value === undefined ? "null" : Array.isArray(value) ? "a list" : typeof value}`);
}

/** The value of JSON that begins with a bracket; otherwise the text. @param {unknown} value @returns {unknown} */
function parsedList(value) {
  if (typeof value !== "string" || !value.trimStart().startsWith("[")) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value; // a text that begins with a bracket
  }
}

/**
 * A text as one turn, or with `turns` the last so many of a dialogue; with `trims` without white space at the ends.
 * @param {unknown} value @param {number | null | undefined} turns @param {boolean} trims @returns {string[]}
 */
export function readTurns(value, turns, trims) {
  const read = (/** @type {unknown} */ text) => {
    const content = asText(text);
    return trims ? stripped(content) : content;
  };
  if (turns === null || turns === undefined) return [read(value)];
  const dialogue = parsedList(value);
  const texts = Array.isArray(dialogue) ? dialogue : [dialogue];
  if (!texts.length) throw new Error("is empty");
  return texts.slice(-turns).map(read);
}

/** Code points in order, as Python compares texts. @param {string} left @param {string} right */
function byCodePoint(left, right) {
  const [ours, theirs] = [[...left], [...right]];
  for (let i = 0; i < Math.min(ours.length, theirs.length); i++) {
    const apart = /** @type {number} */ (ours[i].codePointAt(0)) - /** @type {number} */ (theirs[i].codePointAt(0));
    if (apart) return apart;
  }
  return ours.length - theirs.length;
}

/** A set of tags, in order: a text with separators between, or a list, also as JSON. @param {unknown} value @param {string} separator */
export function readTags(value, separator) {
  const read = parsedList(value);
  const parts = Array.isArray(read) ? read : asText(value).split(separator);
  const tags = new Set(parts.map((part) => stripped(asText(part))).filter(Boolean));
  if (!tags.size) throw new Error("is empty");
  return [...tags].sort(byCodePoint);
}

/** The symbols of a long text, in which a line end is a symbol. @param {(text: string) => string[]} split @param {string} text */
export const splitLines = (split, text) =>
  text.split(LINE_END).flatMap((line, place) => (place ? [LINE_END, ...split(line)] : split(line)));

/** The text of the symbols of a long text. @param {Tokenizer["join"]} join @param {readonly string[]} symbols */
export function joinLines(join, symbols) {
  /** @type {string[][]} */
  const lines = [[]];
  for (const symbol of symbols) {
    if (symbol === LINE_END) lines.push([]);
    else lines[lines.length - 1].push(symbol);
  }
  return lines.map(join).join(LINE_END);
}
