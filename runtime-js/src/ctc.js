// The outputs of a model with CTC, found from log p of all frames (Graves et al. 2006, ICML): the best path, or a beam over
// prefixes (Hannun et al. 2014, arXiv 1408.2873).

import { EOS, UNK } from "./symbols.js";

const BLANK = EOS; // no frame predicts the end symbol, so its class is the blank
const { fround } = Math;

/** log(exp(a) + exp(b)) in 32 bits. @param {number} a @param {number} b */
function logAdd(a, b) {
  const most = Math.max(a, b);
  return most === -Infinity ? most : fround(most + Math.log1p(Math.exp(-Math.abs(a - b))));
}

/** Frames of log p, [frames][symbols]. @typedef {Float32Array[]} Frames */

/** @param {Frames} frames @returns {number[]} */
function bestPath(frames) {
  const path = frames.map((frame) => frame.indexOf(Math.max(...frame)));
  return path.filter((symbol, place) => symbol !== BLANK && (place === 0 || symbol !== path[place - 1]));
}

/** log p of labels, summed over all their paths by the forward algorithm. @param {Frames} frames @param {readonly number[]} labels */
function logLikelihood(frames, labels) {
  const states = new Array(2 * labels.length + 1).fill(BLANK);
  labels.forEach((label, place) => (states[2 * place + 1] = label));
  let forward = states.map((state, place) => (place < 2 ? frames[0][state] : -Infinity));
  for (const frame of frames.slice(1)) {
    forward = states.map((state, place) => {
      const stays = place ? logAdd(forward[place], forward[place - 1]) : forward[place];
      const skips = place >= 3 && place % 2 === 1 && state !== states[place - 2]; // without a blank between
      return fround((skips ? logAdd(stays, forward[place - 2]) : stays) + frame[state]);
    });
  }
  return forward.length > 1 ? logAdd(forward[forward.length - 1], forward[forward.length - 2]) : forward[0];
}

/** @typedef {{labels: number[], blank: number, label: number}} Prefix  log p of its paths that end with a blank, and of the others */

/** @param {Frames} frames @param {number} width @returns {number[][]} */
function prefixSearch(frames, width) {
  /** @type {Prefix[]} */
  let prefixes = [{ labels: [], blank: 0, label: -Infinity }];
  for (const frame of frames) {
    const places = new Map(prefixes.map(({ labels }, place) => [labels.join(), place]));
    const longer = prefixes.map(({ labels, blank, label }) => {
      const [last, whole] = [labels.at(-1), logAdd(blank, label)];
      return frame.map((logProb, symbol) => (symbol === BLANK ? -Infinity : fround((symbol === last ? blank : whole) + logProb)));
    });
    /** @type {{labels: number[], blank: number, label: number, total: number}[]} */
    const candidates = prefixes.map(({ labels, blank, label }) => {
      const last = labels.at(-1);
      let stays = last === undefined ? -Infinity : fround(label + frame[last]);
      const parent = last === undefined ? undefined : places.get(labels.slice(0, -1).join());
      if (parent !== undefined && last !== undefined) {
        stays = logAdd(stays, longer[parent][last]); // both ways to a prefix of the beam are one
        longer[parent][last] = -Infinity;
      }
      const ended = fround(logAdd(blank, label) + frame[BLANK]);
      return { labels, blank: ended, label: stays, total: logAdd(ended, stays) };
    });
    longer.forEach((row, place) =>
      row.forEach((total, symbol) => {
        if (total > -Infinity) candidates.push({ labels: [...prefixes[place].labels, symbol], blank: -Infinity, label: total, total });
      }),
    );
    prefixes = candidates.filter(({ total }) => total > -Infinity).sort((left, right) => right.total - left.total).slice(0, width);
  }
  return prefixes
    .map(({ labels, blank, label }) => ({ labels, total: logAdd(blank, label) }))
    .sort((left, right) => right.total - left.total)
    .map(({ labels }) => labels);
}

/**
 * The labels of a row, each with its whole log p, the best first. No frame writes the unknown symbol.
 * @param {Frames} frames @param {number} width @returns {import("./search.js").Hypothesis[]}
 */
export function outputs(frames, width) {
  const searched = frames.map((frame) => frame.map((value, symbol) => (symbol === UNK ? -Infinity : value)));
  const labellings = width === 1 ? [bestPath(searched)] : prefixSearch(searched, width);
  return labellings
    .map((labels) => ({ tokens: labels, score: logLikelihood(frames, labels), parts: [] }))
    .sort((left, right) => right.score - left.score);
}
