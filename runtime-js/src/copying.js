// What a model that copies reads and writes: a symbol of a source that is not in the target's vocabulary has an id of its
// own, the vocabulary's size plus its first place among the symbols that can be copied (See et al. 2017, arXiv 1704.04368).

import { Text } from "./codecs.js";
import { EOS, SPECIALS, UNK } from "./symbols.js";
import { withColumn } from "./tensors.js";

/** The sources that may be copied, and the vocabulary of what is written. */
export class Copied {
  /** @param {readonly boolean[]} copied @param {readonly import("./codecs.js").Codec[]} sources @param {Text} target */
  constructor(copied, sources, target) {
    this.sources = sources.map((source, place) => (copied[place] && source instanceof Text ? source : null));
    this.vocabulary = target.vocabulary;
  }

  /** The symbols of every source, "" at ends; null for one that is not copied. @param {readonly any[]} values */
  symbols(values) {
    return this.sources.map((source, place) => (source ? [...source.splitTurns(values[place]), ""] : null));
  }

  /**
   * Encoded sources, those that may be copied with the id of each step's copy as their last column.
   * @param {readonly any[]} values @param {readonly import("./tensors.js").Encoded[]} arrays
   */
  read(values, arrays) {
    /** @type {Map<string, number>} */
    const first = new Map();
    let place = 0;
    return this.symbols(values).map((symbols, source) => {
      if (!symbols) return arrays[source];
      for (const symbol of symbols) {
        const known = symbol ? this.vocabulary.id(symbol) : EOS;
        if (!first.has(symbol)) first.set(symbol, known === UNK ? this.vocabulary.size + place : known);
        place += 1;
      }
      return withColumn(arrays[source], symbols.map((symbol) => /** @type {number} */ (first.get(symbol))));
    });
  }

  /** The symbols of an output's ids. @param {readonly number[]} ids @param {readonly any[]} values @returns {string[]} */
  names(ids, values) {
    const read = this.symbols(values).flatMap((symbols) => symbols ?? []);
    const { symbols, size } = this.vocabulary;
    return ids.filter((id) => id >= SPECIALS).map((id) => (id >= size ? read[id - size] : symbols[id - SPECIALS]));
  }
}
