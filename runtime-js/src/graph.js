// A graph that ONNX Runtime runs, and the state of decoding that it takes and gives.

import { take, zeros } from "./tensors.js";

/** @typedef {import("./tensors.js").Values} Values */
/** @typedef {import("onnxruntime-common").InferenceSession} Session */
/** The part of ONNX Runtime that is used: onnxruntime-node, or onnxruntime-web. @typedef {typeof import("onnxruntime-common")} Ort */
/** A part of the state in the manifest. @typedef {{name: string, type: "float32" | "int64" | "bool", shape: (string | number)[], after?: string}} Part */

/** A graph in a session of ONNX Runtime. */
export class Graph {
  /** @param {Ort} ort @param {Session} session */
  constructor(ort, session) {
    this.ort = ort;
    this.session = session;
  }

  /** @param {string} name */
  reads(name) {
    return this.session.inputNames.includes(name);
  }

  /** @param {string} name */
  gives(name) {
    return this.session.outputNames.includes(name);
  }

  /**
   * Arrays by name (those that the graph does not read are left out) -> the `outputs`.
   * @param {Record<string, Values>} inputs @param {readonly string[]} [outputs] @returns {Promise<Record<string, Values>>}
   */
  async run(inputs, outputs = this.session.outputNames) {
    const feeds = this.session.inputNames.map((name) => {
      const { type, data, dims } = inputs[name];
      return [name, new this.ort.Tensor(type, /** @type {any} */ (data), dims)];
    });
    return /** @type {any} */ (await this.session.run(Object.fromEntries(feeds), outputs));
  }
}

/** The state of decoding by the names of its parts; `fixed` is the same for all prefixes of a source. */
export class State {
  /** @param {Record<string, Values>} changing @param {Record<string, Values>} fixed */
  constructor(changing, fixed) {
    this.changing = changing;
    this.fixed = fixed;
  }

  /** Zeros of `rows` rows, where no graph makes the first state. @param {readonly Part[]} parts @param {number} rows */
  static zeros(parts, rows) {
    return new State(Object.fromEntries(parts.map(({ name, type, shape }) => [name, zeros(type, [rows, .../** @type {number[]} */ (shape.slice(1))])])), {});
  }

  get rows() {
    return Object.values(this.changing)[0].dims[0];
  }

  /** Every source `width` times, side by side. @param {number} width */
  expand(width) {
    return width === 1 ? this : this.#taken(Array.from({ length: this.rows * width }, (_, row) => Math.floor(row / width)));
  }

  /** @param {number[]} rows */
  reorder(rows) {
    return rows.every((row, place) => row === place) ? this : new State(rowsOf(this.changing, rows), this.fixed);
  }

  /** @param {number[]} sources @param {number} width */
  select(sources, width) {
    return this.#taken(sources.flatMap((source) => Array.from({ length: width }, (_, slot) => source * width + slot)));
  }

  /** @param {number[]} rows */
  #taken(rows) {
    return new State(rowsOf(this.changing, rows), rowsOf(this.fixed, rows));
  }
}

/** @param {Record<string, Values>} parts @param {number[]} rows */
const rowsOf = (parts, rows) => Object.fromEntries(Object.entries(parts).map(([name, values]) => [name, take(values, rows)]));
