// Numbers from JSON, lists or typed arrays, in the shape that each kind of side has, and scaled.

const FURTHEST = 10; // standard deviations from the mean: numbers are clipped there, as in training
const MISSING = new Set(["", "na", "n/a", "nan", "none", "null"]);
const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i;

/** @typedef {{data: number[], dims: number[]}} Shaped */

/** @param {unknown} value @param {boolean} gaps @returns {number} */
function asNumber(value, gaps) {
  if (typeof value === "number") {
    if (Number.isNaN(value) && !gaps) throw new Error("contains NaN");
    if (Math.abs(value) === Infinity || Math.abs(Math.fround(value)) === Infinity) throw new Error("contains infinity");
    return Math.fround(value);
  }
  const missing = value === null || (typeof value === "string" && MISSING.has(value.trim().toLowerCase()));
  if (missing) {
    if (!gaps) throw new Error(value ? `contains ${value}` : "has an empty cell");
    return NaN;
  }
  if (typeof value === "string" && NUMBER.test(value)) return Math.fround(Number(value));
  throw new Error("must be numbers");
}

/** @param {unknown} value @param {boolean} gaps @returns {Shaped} */
function shaped(value, gaps) {
  if (ArrayBuffer.isView(value)) value = Array.from(/** @type {Float32Array} */ (value));
  if (!Array.isArray(value)) return { data: [asNumber(value, gaps)], dims: [] };
  if (!value.length) throw new Error("is empty");
  const parts = value.map((part) => shaped(part, gaps));
  const sizes = new Set(parts.map(({ dims }) => dims.join()));
  if (sizes.size > 1) throw new Error("has rows of different lengths");
  return { data: parts.flatMap(({ data }) => data), dims: [value.length, ...parts[0].dims] };
}

/**
 * An input as numbers in any shape; with `gaps` numbers may be missing, and are NaN.
 * @param {unknown} value @param {boolean} gaps @returns {Shaped}
 */
export function readNumbers(value, gaps) {
  if (typeof value === "string") {
    const text = value.trim();
    if (text.endsWith(".npy")) throw new Error("names a file of numpy, which JavaScript does not read; give the numbers");
    if (gaps && MISSING.has(text.toLowerCase())) value = NaN;
    else if (!text) throw new Error("is empty");
    else {
      try {
        value = JSON.parse(text);
      } catch {
        throw new Error("is neither a number nor a JSON list of numbers");
      }
    }
  }
  if ((value === null || value === undefined) && !gaps) throw new Error("has no value");
  const { data, dims } = shaped(value, gaps);
  return { data, dims: dims.length ? dims : [1] };
}

/** @param {Shaped} values @param {number} columns @returns {Shaped} */
const inColumns = ({ data }, columns) => ({ data, dims: [data.length / columns, columns] });

/** By the kind of a side: numbers as [steps, size]. @type {Record<string, (values: Shaped, width: number | null | undefined) => Shaped>} */
export const SHAPES = {
  vector: (values) => {
    if (values.dims.length > 1 && Math.max(...values.dims.slice(0, -1)) > 1) {
      throw new Error(`must be one list of numbers, but is an array [${values.dims.join(", ")}]`);
    }
    return inColumns(values, values.data.length);
  },
  frames: (values, width) => {
    if (width === null || width === undefined) return inColumns(values, values.data.length / values.dims[0]);
    if (values.data.length % width) {
      throw new Error(`has ${values.data.length} numbers, which do not make steps of ${width} numbers each`);
    }
    return inColumns(values, width);
  },
  grid: (values) => {
    const [places] = values.dims.slice(-1);
    if (values.dims.length !== 2 && values.dims.length !== 3) {
      throw new Error(`must be [places, numbers] or [rows, columns, numbers], but is an array [${values.dims.join(", ")}]`);
    }
    return inColumns(values, places);
  },
};

/**
 * Numbers [steps, size] in deviations from the means of the training rows, gaps filled, without outliers.
 * @param {Shaped} values @param {{mean: number[], deviation: number[], missing: string, means: number[], steps: boolean}} scale
 * @returns {Float32Array}
 */
export function scaled({ data, dims: [steps, size] }, { mean, deviation, missing, means, steps: sequence }) {
  if (size !== mean.length) {
    throw new Error(`has ${size} numbers${sequence ? " per step" : ""}, but the training rows have ${mean.length}`);
  }
  const out = new Float32Array(steps * size);
  const last = new Array(size).fill(NaN);
  for (let place = 0; place < data.length; place++) {
    const column = place % size;
    let value = data[place];
    if (Number.isNaN(value)) value = missing === "previous" && !Number.isNaN(last[column]) ? last[column] : means[column];
    else last[column] = value;
    const centred = Math.fround(Math.fround(value) - mean[column]);
    out[place] = Math.min(FURTHEST, Math.max(-FURTHEST, Math.fround(centred / deviation[column])));
  }
  return out;
}
