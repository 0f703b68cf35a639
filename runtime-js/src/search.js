// Decoding over a step function: greedy and beam search. The same algorithms as in Python, antiphon/decoding: `score` is
// log p of the whole output in nats, the end symbol counted; beams are ranked by score / |y|^length_penalty.

import { EOS, UNK } from "./symbols.js";

/** @typedef {{tokens: number[], score: number, parts: number[]}} Hypothesis  ids without the end symbol; log p of each, and of the end */

/** Bounds of an output, in symbols without the end symbol. @typedef {{longest: number, shortest: number}} Limits */

/**
 * The state of decoding, with a row for each prefix; the prefixes of a source are neighbours. `reorder` takes rows of what
 * changes, each from the same source's; `select` keeps sources, each with `width` rows.
 * @typedef {{expand: (width: number) => State, reorder: (rows: number[]) => State, select: (sources: number[], width: number) => State}} State
 */

/**
 * The last symbols and the state -> log-probabilities [rows * symbols] of the next, and the state after.
 * @typedef {(last: number[], state: State) => Promise<{logProbs: Float32Array, symbols: number, state: State}>} Step
 */

/** What is decoded: for each source the state, what is read first, and what its output begins with. @typedef {{state: State, first: number[], begun: Hypothesis[]}} Start */

const FEW = 0.75; // share of a batch: when no more rows continue, the others are removed

/**
 * Give -Infinity to what may not follow `length` symbols.
 * @param {Float32Array} logProbs @param {number} symbols @param {number} length @param {Limits} limits
 */
function forbid(logProbs, symbols, length, { longest, shortest }) {
  for (let row = 0; row < logProbs.length; row += symbols) {
    const ending = logProbs[row + EOS];
    if (length >= longest) logProbs.fill(-Infinity, row, row + symbols);
    logProbs[row + UNK] = -Infinity;
    logProbs[row + EOS] = length < shortest ? -Infinity : ending;
  }
}

/** @param {Float32Array} values @param {number} start @param {number} end */
function argmax(values, start, end) {
  let best = start;
  for (let place = start + 1; place < end; place++) if (values[place] > values[best]) best = place;
  return best - start;
}

/**
 * The most probable symbol at every step: what each step has chosen, as [source, symbol, log p].
 * @param {Step} step @param {Start} start @param {Limits} limits @returns {AsyncGenerator<[number, number, number][]>}
 */
export async function* choices(step, { state, first, begun }, limits) {
  const length = begun[0].tokens.length;
  let live = first.map((_, source) => ({ source, place: source }));
  let last = first;
  for (let done = length; done <= Math.max(limits.longest, length); done++) {
    const { logProbs, symbols, state: after } = await step(last, state);
    state = after;
    forbid(logProbs, symbols, done, limits);
    /** @type {[number, number, number][]} */
    const chosen = live.map(({ source, place }) => {
      const symbol = argmax(logProbs, place * symbols, (place + 1) * symbols);
      return [source, symbol, logProbs[place * symbols + symbol]];
    });
    yield chosen;
    const going = live.filter((_, row) => chosen[row][1] !== EOS);
    if (!going.length) return;
    const read = chosen.filter(([, symbol]) => symbol !== EOS).map(([, symbol]) => symbol);
    if (going.length <= FEW * last.length) {
      state = state.select(going.map(({ place }) => place), 1);
      live = going.map(({ source }, place) => ({ source, place }));
      last = read;
    } else {
      last = [...last];
      going.forEach(({ place }, row) => (last[place] = read[row]));
      live = going;
    }
  }
}

/** @param {Step} step @param {Start} start @param {Limits} limits @returns {Promise<Hypothesis[][]>} */
export async function greedy(step, start, limits) {
  const outputs = start.begun.map(({ tokens, score, parts }) => ({ tokens: [...tokens], score, parts: [...parts] }));
  for await (const chosen of choices(step, start, limits)) {
    for (const [source, symbol, logProb] of chosen) {
      const output = outputs[source];
      output.score = Math.fround(output.score + logProb);
      output.parts.push(logProb);
      if (symbol !== EOS) output.tokens.push(symbol);
    }
  }
  return outputs.map((output) => [output]);
}

/**
 * The places of the `count` largest of a row, the largest first, of equal ones the first.
 * @param {Float32Array} values @param {number} start @param {number} end @param {number} count @returns {number[]}
 */
function largest(values, start, end, count) {
  /** @type {number[]} */
  const best = [];
  for (let place = start; place < end; place++) {
    const value = values[place];
    if (best.length === count && value <= values[best[count - 1]]) continue;
    let at = best.length;
    while (at > 0 && values[best[at - 1]] < value) at--;
    best.splice(at, 0, place);
    if (best.length > count) best.pop();
  }
  return best.map((place) => place - start);
}

/** @typedef {{place: number, source: number, prefixes: Hypothesis[], outputs: {rank: number, hypothesis: Hypothesis}[], finished: number, surest: number}} Searched */

/**
 * Beam search: at each step the 2 * width best extensions of a source are considered; those among the first `width` that
 * end are outputs, and the best `width` others continue. A source is finished once it has `width` outputs and no prefix is
 * more probable than the most probable of them, or no prefix is left.
 * @param {Step} step @param {Start} start @param {Limits} limits @param {number} width @param {number} penalty
 * @returns {Promise<Hypothesis[][]>}
 */
export async function beam(step, { state, first, begun }, limits, width, penalty) {
  /** @type {Searched[]} */
  const all = first.map((_, source) => ({ place: source, source, prefixes: [begun[source]], outputs: [], finished: 0, surest: -Infinity }));
  state = state.expand(width);
  let last = first.flatMap((symbol) => new Array(width).fill(symbol));
  let live = all;
  const length = begun[0].tokens.length;
  for (let done = length; done <= Math.max(limits.longest, length) && live.length; done++) {
    const { logProbs, symbols, state: after } = await step(last, state);
    forbid(logProbs, symbols, done, limits);
    const rows = last.map((_, row) => row);
    const going = [];
    for (const searched of live) {
      const origins = extend(searched, logProbs, symbols, width, (done + 1) ** penalty);
      if (!origins) continue;
      const base = searched.place * width;
      for (let slot = 0; slot < width; slot++) {
        rows[base + slot] = base + (origins[slot] ?? origins[0]);
        last[base + slot] = (searched.prefixes[slot] ?? searched.prefixes[0]).tokens.at(-1) ?? first[searched.source];
      }
      going.push(searched);
    }
    if (!going.length) break;
    state = after.reorder(rows);
    if (going.length * width <= FEW * last.length) {
      state = state.select(going.map(({ place }) => place), width);
      last = going.flatMap(({ place }) => last.slice(place * width, (place + 1) * width));
      going.forEach((searched, place) => (searched.place = place));
    }
    live = going;
  }
  return all.map(({ outputs }) => outputs.map(({ hypothesis }) => hypothesis));
}

/**
 * Extend a source's prefixes by a symbol; the places from which the new ones come, or undefined if it is finished.
 * @param {Searched} searched @param {Float32Array} logProbs @param {number} symbols @param {number} width @param {number} divisor
 * @returns {number[] | undefined}
 */
function extend(searched, logProbs, symbols, width, divisor) {
  const { prefixes, outputs, place } = searched;
  const near = Math.min(2 * width, symbols);
  const candidates = prefixes
    .flatMap((prefix, slot) => {
      const row = (place * width + slot) * symbols;
      return largest(logProbs, row, row + symbols, near).map((symbol) => {
        const part = logProbs[row + symbol];
        return { slot, symbol, part, score: Math.fround(prefix.score + part) };
      });
    })
    .sort((left, right) => (right.score === left.score ? 0 : right.score - left.score))
    .slice(0, 2 * width)
    .filter(({ score }) => score > -Infinity);
  for (const { slot, symbol, part, score } of candidates.slice(0, width)) {
    if (symbol !== EOS) continue;
    const { tokens, parts } = prefixes[slot];
    outputs.push({ rank: Math.fround(score / Math.fround(divisor)), hypothesis: { tokens, score, parts: [...parts, part] } });
    searched.finished += 1;
    searched.surest = Math.max(searched.surest, score);
  }
  outputs.sort((left, right) => right.rank - left.rank).splice(width);
  const extended = candidates.filter(({ symbol }) => symbol !== EOS).slice(0, width);
  if (!extended.length || (searched.finished >= width && extended[0].score <= searched.surest)) return undefined;
  searched.prefixes = extended.map(({ slot, symbol, part, score }) => ({
    tokens: [...prefixes[slot].tokens, symbol], score, parts: [...prefixes[slot].parts, part],
  }));
  return extended.map(({ slot }) => slot);
}
