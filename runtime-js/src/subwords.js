// Pieces of words, learned from text: byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) and unigram models
// (Kudo 2018, arXiv 1804.10959), split as the library tokenizers splits them.

const SPACE = "▁"; // stands for a space, and before the first word

/** @typedef {{symbol: string, spelled: string}} Character  a character of a word, and what the text has in its place */

/**
 * The words of a text: spaces become `SPACE`, one more stands before the text, and each begins a word.
 * @param {string} text @returns {Character[][]}
 */
function wordsOf(text) {
  if (!text) return [];
  const characters = [...text].map((spelled) => ({ symbol: spelled === " " ? SPACE : spelled, spelled }));
  if (characters[0].symbol !== SPACE) characters.unshift({ symbol: SPACE, spelled: characters[0].spelled });
  /** @type {Character[][]} */
  const words = [];
  for (const character of characters) {
    if (character.symbol === SPACE) words.push([]);
    words[words.length - 1].push(character);
  }
  return words;
}

/**
 * The text of pieces. @param {readonly string[]} pieces
 */
export const joinPieces = (pieces) =>
  pieces.map((piece, place) => piece.replaceAll(SPACE, place === 0 ? "" : " ")).join("");

/**
 * A function that splits a text: neighbours are merged, the pair that was learned first before others, as long as there is
 * one. A character that was never seen stays as it is spelled.
 * @param {{vocab: Record<string, number>, merges: [string, string][]}} learned @returns {(text: string) => string[]}
 */
export function bpe({ vocab, merges }) {
  const known = new Set(Object.keys(vocab));
  const ranks = new Map(merges.map(([left, right], rank) => [`${left}\0${right}`, rank]));
  /** @param {Character[]} word */
  const merged = (word) => {
    /** @type {(string | null)[]} */
    const pieces = word.map(({ symbol }) => (known.has(symbol) ? symbol : null)); // null: never seen
    const spelled = word.map((character) => character.spelled);
    for (;;) {
      let [best, place] = [Infinity, -1];
      for (let i = 0; i + 1 < pieces.length; i++) {
        if (pieces[i] === null || pieces[i + 1] === null) continue;
        const rank = ranks.get(`${pieces[i]}\0${pieces[i + 1]}`) ?? Infinity;
        if (rank < best) [best, place] = [rank, i];
      }
      if (place < 0) return pieces.map((piece, i) => piece ?? spelled[i]);
      pieces.splice(place, 2, `${pieces[place]}${pieces[place + 1]}`);
      spelled.splice(place, 2, "");
    }
  };
  return (text) => wordsOf(text).flatMap(merged);
}

const UNKNOWN_COSTS = 10; // log p of an unknown character lies so far below that of the least probable piece

/**
 * A function that splits a text into the most probable pieces (Viterbi). Neighbours that are in no piece stay together.
 * @param {{vocab: [string, number][], unk_id: number}} learned @returns {(text: string) => string[]}
 */
export function unigram({ vocab, unk_id: unknown }) {
  const scores = new Map(vocab.map(([piece, score], id) => [piece, { score, known: id !== unknown }]));
  const unknownScore = Math.min(...vocab.map(([, score]) => score)) - UNKNOWN_COSTS;
  const longest = Math.max(...vocab.map(([piece]) => [...piece].length));
  /** @param {Character[]} word */
  const split = (word) => {
    const symbols = word.map(({ symbol }) => symbol);
    /** @type {{from: number, score: number, known: boolean}[]} */
    const best = [{ from: -1, score: 0, known: true }];
    for (let start = 0; start < symbols.length; start++) {
      const offer = (/** @type {number} */ end, /** @type {number} */ score, /** @type {boolean} */ known) => {
        const total = best[start].score + score;
        if (best[end] === undefined || total > best[end].score) best[end] = { from: start, score: total, known };
      };
      let piece = "";
      for (let end = start + 1; end <= Math.min(symbols.length, start + longest); end++) {
        piece += symbols[end - 1];
        const entry = scores.get(piece);
        if (entry) offer(end, entry.score, entry.known);
      }
      if (!scores.has(symbols[start])) offer(start + 1, unknownScore, false);
    }
    /** @type {string[]} */
    const pieces = [];
    let held = ""; // unknown neighbours
    for (let end = symbols.length; end > 0; end = best[end].from) {
      const { from, known } = best[end];
      const piece = symbols.slice(from, end).join("");
      if (!known) held = piece + held;
      else {
        if (held) pieces.unshift(held);
        held = "";
        pieces.unshift(piece);
      }
    }
    if (held) pieces.unshift(held);
    return pieces;
  };
  return (text) => wordsOf(text).flatMap(split);
}
