// Inputs whose predictions are given and win over the model: `exceptions.tsv` in an exported folder.

import { Category, Text } from "./codecs.js";
import { FolderError } from "./errors.js";

/** The key of an input's values: the symbols of every source. @param {readonly import("./codecs.js").Codec[]} sources @param {readonly any[]} values */
export const keyOf = (sources, values) =>
  JSON.stringify(sources.map((side, place) => (side instanceof Text ? side.splitTurns(values[place]) : [String(values[place])])));

/**
 * The known answers of a file. @param {string} content @param {readonly import("./codecs.js").Codec[]} sources
 * @param {import("./codecs.js").Codec} target @returns {Map<string, any>}
 */
export function knownAnswers(content, sources, target) {
  const answers = new Map();
  const reads = sources.filter((source) => source.reads).length;
  content.replace(/^\uFEFF/, "").split("\n").forEach((line, place) => {
    const fields = line.replace(/\r$/, "").split("\t");
    if (fields.length === 1 && !fields[0]) return;
    const output = /** @type {string} */ (fields.pop());
    if (fields.length !== reads) {
      throw new FolderError(`exceptions.tsv:${place + 1}: has ${fields.length + 1} columns; the inputs and the output are needed`);
    }
    const values = sources.map((source) => {
      const field = source.reads ? /** @type {string} */ (fields.shift()) : "";
      return source instanceof Text ? [field] : field;
    });
    const read = sources[0] instanceof Text ? sources[0].splitTurns(/** @type {string[]} */ (values[0])) : [];
    answers.set(keyOf(sources, values), prediction(target, output, read));
  });
  return answers;
}

/** @param {import("./codecs.js").Codec} target @param {string} output @param {string[]} read */
function prediction(target, output, read) {
  if (target instanceof Text) {
    const tokens = target.split(output);
    return { text: output, tokens, score: 0, n_best: [{ text: output, tokens, score: 0 }], source_tokens: read, confidence: 1 };
  }
  if (target instanceof Category && target.steps) {
    const labels = output.split(/\s+/).filter(Boolean);
    return { labels, probabilities: labels.map(() => 1), confidence: labels.map(() => 1) };
  }
  return { label: output, probabilities: Object.fromEntries([[output, 1]]), confidence: 1 };
}
