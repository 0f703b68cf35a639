// Special symbols, which are ids and never strings, and the vocabulary of the others.

export const PAD = 0;
export const BOS = 1;
export const EOS = 2;
export const UNK = 3;
export const SPECIALS = 4; // ordinary symbols start at this id

/** Symbols to ids and back; the first symbol has the id `SPECIALS`. */
export class Vocabulary {
  /** @param {readonly string[]} symbols */
  constructor(symbols) {
    this.symbols = symbols;
    this.ids = new Map(symbols.map((symbol, place) => [symbol, SPECIALS + place]));
  }

  /** Number of ids, special ones included. */
  get size() {
    return SPECIALS + this.symbols.length;
  }

  /** @param {string} symbol */
  id(symbol) {
    return this.ids.get(symbol) ?? UNK;
  }

  /** @param {string} symbol */
  has(symbol) {
    return this.ids.has(symbol);
  }

  /** The symbols of ids; special ones are left out. @param {Iterable<number>} ids @returns {string[]} */
  names(ids) {
    return [...ids].filter((id) => id >= SPECIALS).map((id) => this.symbols[id - SPECIALS]);
  }
}
