// An exported model in use: from inputs to predictions, as `predict` in Python makes them.

import { batchesByLength } from "./batches.js";
import { Category, Numbers, Text } from "./codecs.js";
import { Copied } from "./copying.js";
import * as ctc from "./ctc.js";
import { InputError, OptionError, TooLongError } from "./errors.js";
import { State } from "./graph.js";
import { keyOf } from "./known.js";
import { beam, choices, greedy } from "./search.js";
import { EOS } from "./symbols.js";
import { firstSteps, idsOf, padded, sizeOf } from "./tensors.js";

/** @typedef {import("./codecs.js").Codec} Codec */
/** @typedef {import("./graph.js").Graph} Graph */
/** @typedef {import("./search.js").Hypothesis} Hypothesis */
/** @typedef {import("./tensors.js").Encoded} Encoded */
/** @typedef {import("./tensors.js").Values} Values */
/** @typedef {import("./types.js").Prediction} Prediction */
/** @typedef {import("./types.js").Options} Options */

/** An input: its values, their arrays, and how many of its symbols are unknown. @typedef {{values: any[], arrays: Encoded[], unknown: number}} Unanswered */

const WINDOW = 4096; // inputs held at once

/** A loaded folder. Predictions never depend on what else is in a batch. */
export class Model {
  /**
   * @param {any} manifest @param {Codec[]} sides @param {Record<string, Graph>} graphs
   * @param {import("./calibration.js").Calibration | null} calibration @param {Map<string, any>} known
   */
  constructor(manifest, sides, graphs, calibration, known) {
    this.manifest = manifest;
    this.structure = /** @type {string} */ (manifest.structure);
    this.sources = sides.slice(0, -1);
    this.target = sides[sides.length - 1];
    this.names = /** @type {string[]} */ (manifest.sources.map((/** @type {any} */ { name }) => name));
    this.graphs = graphs;
    /** @type {import("./graph.js").Part[]} */
    const held = manifest.state.filter((/** @type {any} */ { name }) => graphs.step?.reads(name));
    this.changing = held.filter(({ after }) => after);
    this.fixed = held.filter(({ after }) => !after);
    this.copied = manifest.copied ? new Copied(manifest.copied, this.sources, /** @type {Text} */ (this.target)) : null;
    this.decode = /** @type {Record<string, any> | null} */ (manifest.decode);
    this.continues = !graphs.encode && !graphs.read; // a language model
    this.aligns = Boolean(manifest.aligns); // whether all frames predict one text together (CTC)
    this.calibration = calibration;
    this.known = known;
  }

  /** Whether it writes symbol by symbol. */
  get writes() {
    return this.decode !== null && !this.aligns;
  }

  /** Whether it answers each step of a stream. */
  get live() {
    return Boolean(this.graphs.read && this.graphs.step);
  }

  /**
   * The predictions for `inputs`, in order; an empty input has an empty prediction.
   *
   * An input is a text, a picture's pixels, or (nested) lists of numbers; with several sources a list of these, or their
   * texts with tabs between. A wrong input is an `InputError` that names its number, from 1.
   * @param {Iterable<unknown>} inputs @param {Options} [options] @returns {Promise<any[]>}
   */
  async predict(inputs, options = {}) {
    const answers = await this.answers(inputs, options);
    const wrong = answers.find((answer) => answer instanceof InputError);
    if (wrong) throw wrong;
    return answers;
  }

  /** Like `predict`, but a wrong input has its error in its place. @param {Iterable<unknown>} inputs @param {Options} [options] @returns {Promise<any[]>} */
  async answers(inputs, options = {}) {
    if (typeof inputs === "string") throw new TypeError("inputs must be a list of texts; for one text give [text]");
    const search = this.search(options);
    /** @type {any[]} */
    const answers = [];
    for (const window of windows(inputs)) {
      const held = window.map((value, place) => {
        try {
          return this.held(value, `input ${answers.length + place + 1}`);
        } catch (error) {
          if (error instanceof InputError) return error;
          throw error;
        }
      });
      const filled = /** @type {Unanswered[]} */ (held.filter((entry) => entry !== null && "arrays" in entry));
      const made = this.decode ? await this.#decoded(filled, search) : await this.#read(filled);
      answers.push(...held.map((entry) => (entry === null ? this.empty() : "arrays" in entry ? made.shift() : entry)));
    }
    return answers;
  }

  /**
   * The prediction of a model that writes, again after every symbol, as it becomes longer; the last is that of a beam of 1.
   * @param {unknown} value @returns {AsyncGenerator<any>}
   */
  async *write(value) {
    if (!this.writes) throw new OptionError("does not write symbol by symbol; use predict");
    const entry = this.held(value, "input");
    if (entry === null || !("arrays" in entry)) {
      yield entry ?? this.empty();
      return;
    }
    /** @type {Hypothesis} */
    const output = { tokens: [], score: 0, parts: [] };
    for await (const [[, symbol, logProb]] of choices(this.step, await this.begun([entry.arrays]), this.search({}).limits)) {
      output.score = Math.fround(output.score + logProb);
      if (symbol !== EOS) output.tokens.push(symbol);
      yield this.written(entry, [output], false);
    }
  }

  /** Predict for every step of a stream at once; an empty text ends a sequence, which gives null. @param {Iterable<unknown> | AsyncIterable<unknown>} steps @returns {AsyncGenerator<any>} */
  async *steps(steps) {
    if (!this.live) throw new OptionError("cannot answer a stream step by step");
    let state = State.zeros(this.manifest.state, 1);
    let number = 0;
    for await (const value of steps) {
      number += 1;
      if (value === "") {
        state = State.zeros(this.manifest.state, 1);
        yield null;
        continue;
      }
      const step = inputOf(`step ${number}`, () => this.sources[0].readStep(value));
      const [{ type, data }] = padded([step]);
      const outputs = await this.graphs.step.run({ [this.names[0]]: { type, data, dims: [1, ...step.shape] }, ...state.changing });
      state = new State(Object.fromEntries(this.manifest.state.map((/** @type {any} */ { name, after }) => [name, outputs[after]])), {});
      const values = /** @type {Float32Array} */ ((outputs.log_probs ?? outputs.values).data);
      yield outputs.log_probs ? this.#label(values) : { values: /** @type {Numbers} */ (this.target).restored(values) };
    }
  }

  /** The search that options ask for. @param {Options} options */
  search(options) {
    for (const [name, value] of Object.entries(options)) {
      if (!(name in LEAST)) throw new OptionError(`${name}: unknown; known: ${Object.keys(LEAST).join(", ")}`);
      const least = LEAST[/** @type {keyof typeof LEAST} */ (name)];
      const fits = name === "token_scores" || (typeof value === "number" && value >= least && (name === "length_penalty" || Number.isInteger(value)));
      if (value !== undefined && !fits) throw new OptionError(`${name}: must be a number from ${least} (is ${value})`);
    }
    const decode = this.decode ?? { beam: 1, max_length: 0, min_length: 0, length_penalty: 0 };
    const width = options.beam ?? decode.beam;
    const count = options.n_best ?? 1;
    if (count > width) throw new OptionError(`n_best: must lie between 1 and the beam's width, ${width} (is ${count})`);
    const longest = options.max_length ?? decode.max_length;
    const limits = { longest, shortest: Math.min(options.min_length ?? decode.min_length, longest) };
    return { width, count, limits, penalty: options.length_penalty ?? decode.length_penalty, parts: Boolean(options.token_scores) };
  }

  /** An input as it is held: to be answered, its known answer, or null if it is empty. @param {unknown} value @param {string} where @returns {Unanswered | Prediction | null} */
  held(value, where) {
    const parts = this.#parts(value, where);
    if (parts === null) return null;
    const { values, arrays } = inputOf(where, () => {
      const read = this.sources.map((source, place) => source.readInput(parts[place]));
      return { values: read, arrays: read.map((part, place) => this.sources[place].encode(part)) };
    });
    const known = this.known.size ? this.known.get(keyOf(this.sources, values)) : undefined;
    if (known) return known;
    const unknown = this.sources.reduce((sum, source, place) => sum + source.unknown(arrays[place]), 0);
    this.sources.forEach((source, place) => {
      if (this.continues) arrays[place] = firstSteps(arrays[place], arrays[place].steps - source.ends); // a prompt has no end
      const length = arrays[place].steps - source.ends;
      if (source.steps && length > this.manifest.max_length) {
        throw new TooLongError(`${where}: has ${length} ${source.unit}; the most that this model reads is ${this.manifest.max_length}`);
      }
    });
    const none = this.continues ? 0 : this.sources[0].ends;
    if (parts.length === 1 && arrays[0].steps === none) return null;
    return { values, arrays: this.copied ? this.copied.read(values, arrays) : arrays, unknown };
  }

  /** The part of an input for each source; null for an empty input. @param {unknown} value @param {string} where @returns {unknown[] | null} */
  #parts(value, where) {
    const reading = this.sources.filter((source) => source.reads).length;
    const parts = reading === 1 ? [value] : typeof value === "string" ? (value.trim() ? value.split("\t") : []) : [.../** @type {any} */ (value ?? [])];
    if (reading && parts.every((part) => part === "")) return null;
    if (reading && parts.length !== reading) throw new InputError(`${where}: has ${parts.length} of ${reading} sources; a tab separates them`);
    let place = 0;
    return this.sources.map((source) => (source.reads ? parts[place++] : ""));
  }

  /** @param {Unanswered[]} filled @param {ReturnType<Model["search"]>} search @returns {Promise<any[]>} */
  async #decoded(filled, { width, count, limits, penalty, parts }) {
    return this.#eachRow(filled, width, async (rows) => {
      const found = this.aligns
        ? await this.#labelled(rows, width)
        : width === 1
          ? await greedy(this.step, await this.begun(rows.map(({ arrays }) => arrays)), limits)
          : await beam(this.step, await this.begun(rows.map(({ arrays }) => arrays)), limits, width, penalty);
      return found.map((hypotheses, row) => this.written(rows[row], hypotheses.slice(0, count), parts));
    });
  }

  /** With CTC: the labels of every row. @param {Unanswered[]} rows @param {number} width */
  async #labelled(rows, width) {
    const outputs = await this.graphs.read.run(this.#named(rows.map(({ arrays }) => arrays)), ["log_probs"]);
    return rows.map(({ arrays }, row) => ctc.outputs(framesOf(outputs.log_probs, row, arrays[0].steps), width));
  }

  /** What `work` makes of the rows of each batch, in the order of the rows. @param {Unanswered[]} filled @param {number} width @param {(rows: Unanswered[]) => Promise<any[]>} work */
  async #eachRow(filled, width, work) {
    const lengths = filled.map(({ arrays }) => arrays.reduce((sum, { steps }) => sum + steps, 0));
    /** @type {any[]} */
    const made = new Array(filled.length);
    for (const batch of batchesByLength(lengths, width)) {
      const answers = await work(batch.map((row) => filled[row]));
      batch.forEach((row, place) => (made[row] = answers[place]));
    }
    return made;
  }

  /** The state before the first symbol of the output, and the ids that are read first. @param {Encoded[][]} rows @returns {Promise<import("./search.js").Start>} */
  async begun(rows) {
    const begun = rows.map(() => ({ tokens: [], score: 0, parts: [] }));
    if (this.continues) return { ...(await this.#prompted(rows.map(([ids]) => [...ids.data]))), begun };
    const encoded = await this.graphs.encode.run(this.#named(rows));
    const parts = (/** @type {import("./graph.js").Part[]} */ list) => Object.fromEntries(list.map(({ name }) => [name, encoded[name]]));
    return { state: new State(parts(this.changing), parts(this.fixed)), first: rows.map(() => this.first), begun };
  }

  /** The state after a prompt without its last symbol, and that symbol. @param {number[][]} prompts */
  async #prompted(prompts) {
    const read = prompts.map((ids) => [this.first, ...ids]);
    let state = State.zeros(this.changing, prompts.length);
    for (let place = 0; place < Math.max(...prompts.map(({ length }) => length)); place++) {
      const { state: after } = await this.step(read.map((ids) => ids[place] ?? EOS), state);
      const going = prompts.map(({ length }) => place < length);
      for (const [name, values] of Object.entries(after.changing)) {
        const size = sizeOf(values.dims.slice(1));
        going.forEach((goes, row) => goes || values.data.set(/** @type {any} */ (state.changing[name].data.subarray(row * size, (row + 1) * size)), row * size));
      }
      state = after;
    }
    return { state, first: read.map((ids) => ids[ids.length - 1]) };
  }

  /** The id that is read first. */
  get first() {
    return /** @type {Text} */ (this.continues ? this.sources[0] : this.target).begin;
  }

  /** The side whose symbols it writes. */
  get writing() {
    return /** @type {Text} */ (this.continues ? this.sources[0] : this.target);
  }

  /** As `Step` of the search; `further` are outputs of the graph that come with it. @type {(last: number[], state: any, further?: string[]) => Promise<any>} */
  step = async (last, state, further = []) => {
    const outputs = ["log_probs", ...this.changing.map(({ after }) => /** @type {string} */ (after)), ...further];
    const given = await this.graphs.step.run({ tokens: idsOf(last), ...state.changing, ...state.fixed }, outputs);
    const after = this.changing.map(({ name, after: output }) => [name, given[/** @type {string} */ (output)]]);
    return { ...given, logProbs: given.log_probs.data, symbols: given.log_probs.dims[1], state: new State(Object.fromEntries(after), state.fixed) };
  };

  /** The best output that begins with `ids`. @param {import("./search.js").Start} start of one input @param {readonly number[]} ids @param {Options} options */
  async continued({ state, first }, ids, options) {
    const { width, limits, penalty } = this.search(options);
    const output = { tokens: [...ids], score: 0, parts: /** @type {number[]} */ ([]) };
    let last = first[0];
    for (const id of ids) {
      const { logProbs, state: after } = await this.step([last], state);
      output.score = Math.fround(output.score + logProbs[id]);
      output.parts.push(logProbs[id]);
      [last, state] = [id, after];
    }
    const begun = { state, first: [last], begun: [output] };
    const [[best]] = width === 1 ? await greedy(this.step, begun, limits) : await beam(this.step, begun, limits, width, penalty);
    return best;
  }

  /** @param {Encoded[][]} rows @returns {Record<string, Values>} */
  #named(rows) {
    return Object.fromEntries(
      this.names.flatMap((name, place) => {
        const [values, lengths] = padded(rows.map((arrays) => arrays[place]));
        return [[name, values], [`${name}_lengths`, lengths]];
      }),
    );
  }

  /** Outputs as a prediction. @param {Unanswered} entry @param {Hypothesis[]} hypotheses @param {boolean} parts */
  written({ values, unknown }, hypotheses, parts) {
    const first = this.sources[0];
    const read = first instanceof Text ? first.splitTurns(values[0]) : [];
    const candidates = hypotheses.map(({ tokens, score, parts: each }) => {
      const symbols = [...(this.continues ? read : []), ...this.named(tokens, values)];
      return { text: this.writing.join(symbols), tokens: symbols, score, ...(parts && !this.aligns && { token_scores: each }) };
    });
    const [best] = candidates;
    const confidence = this.calibration && { confidence: this.calibration.ofText(best.score) };
    return { ...best, n_best: candidates, source_tokens: read, ...confidence, ...(unknown && { unknown }) };
  }

  /** The symbols of an output's ids. @param {readonly number[]} ids @param {readonly any[]} values */
  named(ids, values) {
    return this.copied ? this.copied.names(ids, values) : this.writing.vocabulary.names(ids);
  }

  /** @param {Unanswered[]} filled @returns {Promise<any[]>} */
  async #read(filled) {
    return this.#eachRow(filled, 1, async (rows) =>
      (await this.frames(rows)).map(({ frames, chosen }, row) => {
        const { unknown } = rows[row];
        return { ...this.answer(frames, chosen), ...(unknown && { unknown }) };
      }),
    );
  }

  /**
   * What the graph of a model that reads gives for each row: log p or numbers of each step, and what a CRF has chosen.
   * @param {Unanswered[]} rows @returns {Promise<{frames: Float32Array[], chosen?: number[]}[]>}
   */
  async frames(rows) {
    const { labels, log_probs: logProbs, values } = await this.graphs.read.run(this.#named(rows.map(({ arrays }) => arrays)));
    return rows.map(({ arrays }, row) => {
      const steps = this.target.steps ? arrays[0].steps - this.sources[0].ends : 1;
      const start = labels && row * labels.dims[1];
      return { frames: framesOf(logProbs ?? values, row, steps), ...(labels && { chosen: Array.from(labels.data.subarray(start, start + steps), Number) }) };
    });
  }

  /** @param {Float32Array[]} frames @param {number[]} [chosen] */
  answer(frames, chosen) {
    const { target, calibration } = this;
    if (target instanceof Numbers) {
      const values = frames.map((frame) => target.restored(frame));
      return target.steps ? { values } : { value: values[0][0] };
    }
    if (!target.steps) return this.#label(frames[0]);
    const ids = chosen ?? frames.map((frame) => frame.indexOf(Math.max(...frame)));
    return {
      labels: /** @type {Category} */ (target).vocabulary.names(ids),
      probabilities: frames.map((frame, step) => Math.exp(frame[ids[step]])),
      ...(calibration && { confidence: frames.map((frame, step) => calibration.of(frame, ids[step])) }),
    };
  }

  /** @param {Float32Array} logProbs */
  #label(logProbs) {
    const { vocabulary } = /** @type {Category} */ (this.target);
    const order = Array.from(logProbs.keys()).sort((left, right) => logProbs[right] - logProbs[left] || left - right).slice(0, vocabulary.symbols.length);
    const names = vocabulary.names(order);
    return {
      label: names[0],
      probabilities: Object.fromEntries(order.map((id, rank) => [names[rank], Math.exp(logProbs[id])])),
      ...(this.calibration && { confidence: this.calibration.of(logProbs, order[0]) }),
    };
  }

  /** The prediction for an empty input. */
  empty() {
    const { target } = this;
    if (target instanceof Category) return target.steps ? { labels: [], probabilities: [] } : { label: "", probabilities: {} };
    if (target instanceof Numbers) return target.steps ? { values: [] } : { value: null };
    return { text: "", tokens: [], score: null, n_best: [], source_tokens: [] };
  }
}

/** The options, and the least value of each. @type {Record<keyof Options, number>} */
const LEAST = { beam: 1, n_best: 1, length_penalty: 0, min_length: 0, max_length: 1, token_scores: 0 };

/** The first steps of a row as views of its numbers. @param {Values} values @param {number} row @param {number} steps @returns {Float32Array[]} */
function framesOf({ data, dims: [, longest, size] }, row, steps) {
  const frames = /** @type {Float32Array} */ (data);
  return Array.from({ length: steps }, (_, step) => frames.subarray((row * longest + step) * size, (row * longest + step + 1) * size));
}

/** @param {Iterable<unknown>} inputs @returns {Generator<unknown[]>} */
function* windows(inputs) {
  /** @type {unknown[]} */
  let window = [];
  for (const input of inputs) {
    if (window.push(input) < WINDOW) continue;
    yield window;
    window = [];
  }
  if (window.length) yield window;
}

/** @template T @param {string} where @param {() => T} read @returns {T} */
function inputOf(where, read) {
  try {
    return read();
  } catch (error) {
    throw new InputError(`${where}: the input ${/** @type {Error} */ (error).message}`);
  }
}
