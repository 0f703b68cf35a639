// A trace of one prediction, of what the graphs tell: log p of each step, the most probable symbols there, attention. Its
// fields are those of docs/trace.md; what only PyTorch sees (states, gates, gradients) is absent.

import { Category } from "./codecs.js";
import { InputError, OptionError } from "./errors.js";
import { EOS, UNK } from "./symbols.js";

/** @typedef {import("./model.js").Model} Model */
/** @typedef {import("./model.js").Unanswered} Unanswered */
/** @typedef {{token: string | null, log_prob: number}} Choice */
/** @typedef {{text: string, tokens: (string | null)[], score: number | null, steps: any[], attention?: number[][]}} Run */
/** @typedef {{top?: number, begin?: string[], reference?: string}} Asked */

const MOST_LABELS = 50;

/**
 * What a model did with one input. `begin` are symbols that the output begins with, `reference` a text whose steps are
 * shown beside the output's; `top` is how many symbols each step shows.
 * @param {Model} model @param {unknown} value @param {import("./types.js").Options} [options] @param {Asked} [asked]
 */
export async function explain(model, value, options = {}, { top = 5, begin = [], reference } = {}) {
  const entry = model.held(value, "input");
  if (entry === null) throw new InputError("input: is empty");
  if (!("arrays" in entry)) throw new InputError("input: has a known answer, which the model did not compute");
  const sources = model.sources.map((codec, place) => ({
    name: model.names[place],
    kind: codec.kind,
    tokens: codec.tokensRead(entry.values[place], entry.arrays[place]),
    unknown: codec.unknownPlaces(entry.arrays[place]),
  }));
  const trace = { format: 1, exported: true, structure: model.structure, sources };
  if (!model.decode) return { ...trace, output: await readerRun(model, entry) };
  if (model.aligns) throw new OptionError("a model with CTC has no steps to show");
  const start = await model.begun([entry.arrays]);
  const prefix = begin.map((symbol) => idOf(model, symbol));
  const { tokens } = await model.continued(start, prefix, options);
  const output = await writtenRun(model, entry, start, tokens, top);
  if (model.continues) return { ...trace, output, prompt: { text: "", tokens: sources[0].tokens, score: null, steps: [] } };
  const expected = reference ? await writtenRun(model, entry, start, model.writing.split(reference).map((symbol) => idOf(model, symbol)), top) : null;
  const apart = expected ? expected.tokens.findIndex((token, step) => token !== output.tokens[step]) : -1;
  return { ...trace, output, context: [], ...(expected && { reference: expected, divergence: apart < 0 ? null : apart }) };
}

/** @param {Model} model @param {string} symbol */
function idOf(model, symbol) {
  if (!model.writing.vocabulary.has(symbol)) throw new OptionError(`the model cannot write ${JSON.stringify(symbol)}; it is not in the vocabulary`);
  return model.writing.vocabulary.id(symbol);
}

/**
 * A run that is fed its own symbols. @param {Model} model @param {Unanswered} entry @param {import("./search.js").Start} start
 * @param {readonly number[]} ids without the end symbol @param {number} top @returns {Promise<Run>}
 */
async function writtenRun(model, entry, { state, first }, ids, top) {
  const looks = model.graphs.step.gives("attention");
  const steps = [];
  const attention = [];
  let score = 0;
  let [last, held] = [first[0], state];
  for (const id of [...ids, EOS]) {
    const given = await model.step([last], held, looks ? ["attention"] : []);
    const logProbs = /** @type {Float32Array} */ (given.logProbs);
    const named = (/** @type {number} */ symbol) => model.named([symbol], entry.values)[0] ?? null;
    const best = Array.from(logProbs.keys()).filter((symbol) => symbol !== UNK && logProbs[symbol] > -Infinity).sort((a, b) => logProbs[b] - logProbs[a]);
    score = Math.fround(score + logProbs[id]);
    steps.push({ token: named(id), log_prob: logProbs[id], top: best.slice(0, top).map((symbol) => ({ token: named(symbol), log_prob: logProbs[symbol] })) });
    if (looks) attention.push(Array.from(/** @type {Float32Array} */ (given.attention.data)));
    [last, held] = [id, given.state];
  }
  const tokens = steps.map(({ token }) => token);
  return { text: model.writing.join(model.named(ids, entry.values)), tokens, score, steps, ...(looks && { attention }) };
}

/** The run of a model that answers labels or numbers. @param {Model} model @param {Unanswered} entry @returns {Promise<Run>} */
async function readerRun(model, entry) {
  const [{ frames, chosen }] = await model.frames([entry]);
  const answer = /** @type {any} */ (model.answer(frames, chosen));
  if (!(model.target instanceof Category)) {
    const rows = /** @type {number[][]} */ (answer.values ?? [[answer.value]]);
    const steps = rows.map((values) => ({ token: null, log_prob: null, top: [], values }));
    return { text: "", tokens: rows.map(() => null), score: null, steps };
  }
  const { vocabulary } = model.target;
  const tokens = /** @type {string[]} */ (answer.labels ?? [answer.label]);
  const steps = frames.map((frame, step) => {
    const labels = vocabulary.symbols.map((token) => ({ token, log_prob: frame[vocabulary.id(token)] }));
    const top = labels.sort((left, right) => right.log_prob - left.log_prob).slice(0, MOST_LABELS);
    return { token: tokens[step], log_prob: frame[vocabulary.id(tokens[step])], top };
  });
  return { text: tokens.join(" "), tokens, score: steps.reduce((sum, step) => sum + step.log_prob, 0), steps };
}
