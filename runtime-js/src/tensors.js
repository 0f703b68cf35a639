// Arrays as graphs take and give them, and their rows.

import { EOS } from "./symbols.js";

/** @typedef {Float32Array | BigInt64Array | Uint8Array | Int32Array} Numbers */

/**
 * An array of any number of dimensions, of which the first counts rows.
 * @typedef {{type: "float32" | "int64" | "uint8" | "bool", data: Numbers, dims: readonly number[]}} Values
 */

/**
 * An encoded side of one row: `steps` steps, each of the shape `shape`. Ids are held in 32 bits and given to graphs in 64.
 * @typedef {{type: "float32" | "int64" | "uint8", data: Float32Array | Int32Array | Uint8Array, shape: readonly number[], steps: number}} Encoded
 */

const TYPED = { float32: Float32Array, int64: BigInt64Array, uint8: Uint8Array, bool: Uint8Array };

/** @param {readonly number[]} dims */
export const sizeOf = (dims) => dims.reduce((product, size) => product * size, 1);

/** @param {Iterable<number>} list @returns {Encoded} */
export function encodedIds(list) {
  const data = Int32Array.from(list);
  return { type: "int64", data, shape: [], steps: data.length };
}

/** Zeros [rows, ...]. @param {"float32" | "int64" | "uint8" | "bool"} type @param {readonly number[]} dims @returns {Values} */
export const zeros = (type, dims) => ({ type, data: new TYPED[type](sizeOf(dims)), dims });

/** Ids [rows] as a graph takes them. @param {readonly number[]} list @returns {Values} */
export const idsOf = (list) => ({ type: "int64", data: BigInt64Array.from(list, BigInt), dims: [list.length] });

/** The given rows of an array, in this order. @param {Values} values @param {readonly number[]} rows @returns {Values} */
export function take({ type, data, dims }, rows) {
  const size = sizeOf(dims.slice(1));
  const taken = new TYPED[type](rows.length * size);
  for (let place = 0; place < rows.length; place++) {
    const part = data.subarray(rows[place] * size, (rows[place] + 1) * size);
    taken.set(/** @type {any} */ (part), place * size);
  }
  return { type, data: taken, dims: [rows.length, ...dims.slice(1)] };
}

/**
 * Rows of a batch, filled up with zeros to the longest [rows, steps, ...], and their lengths [rows].
 * @param {readonly Encoded[]} arrays @returns {[Values, Values]}
 */
export function padded(arrays) {
  const longest = Math.max(...arrays.map(({ steps }) => steps));
  const { type, shape } = arrays[0];
  const size = sizeOf(shape);
  const values = zeros(type, [arrays.length, longest, ...shape]);
  arrays.forEach(({ data }, row) => {
    const start = row * longest * size;
    if (values.data instanceof BigInt64Array) for (let i = 0; i < data.length; i++) values.data[start + i] = BigInt(data[i]);
    else values.data.set(/** @type {any} */ (data), start);
  });
  return [values, idsOf(arrays.map(({ steps }) => steps))];
}

/** An array of ids with a further column. @param {Encoded} array @param {readonly number[]} column @returns {Encoded} */
export function withColumn({ data, shape, steps }, column) {
  const width = sizeOf(shape);
  const wider = new Int32Array(steps * (width + 1));
  for (let step = 0; step < steps; step++) {
    wider.set(data.subarray(step * width, (step + 1) * width), step * (width + 1));
    wider[step * (width + 1) + width] = column[step];
  }
  return { type: "int64", data: wider, shape: [width + 1], steps };
}

/** The first steps of an array. @param {Encoded} array @param {number} steps @returns {Encoded} */
export const firstSteps = ({ type, data, shape }, steps) => ({ type, data: data.subarray(0, steps * sizeOf(shape)), shape, steps });

/** An array that ends with the end symbol alone. @returns {Encoded} */
export const nothing = () => encodedIds([EOS]);
