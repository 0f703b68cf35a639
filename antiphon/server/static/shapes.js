// Numbers as pictures: which vectors and frames are one, of what size, and between which numbers.

const LEAST = 5; // pixels of a side
const LONG = 2; // a picture is at most so many times longer on one side than on the other

const folded = (values, width) => Array.from({ length: values.length / width }, (_, row) => values.slice(row * width, (row + 1) * width));

/** Height and width, if all of the values could be pictures of one size. */
function sizeOf(side, values) {
  const edge = side.kind === "vector" ? Math.sqrt(side.numbers) : side.numbers;
  if (side.kind === "vector") return Number.isInteger(edge) ? [edge, edge] : undefined;
  const heights = new Set(values.map((rows) => rows.length));
  return heights.size > 1 ? undefined : [heights.values().next().value ?? edge, side.numbers];
}

/** The lowest and the highest of a side's numbers: those of examples, or else what the model's scale says. */
export function rangeOf(side, values) {
  const numbers = values.flat(Infinity);
  const [low, high] = numbers.length ? [Math.min(...numbers), Math.max(...numbers)] : (side.range ?? [-1, 1]);
  return low < high ? [low, high] : [low, low + 1];
}

/**
 * How vectors or frames are pictures: {height, width, low, high, whole, sure, rows(value), value(rows)}; undefined: they are
 * none. `values` are examples; without any it is not `sure`. `whole`: they are whole numbers.
 */
export function pictureOf(side, values) {
  if (!["vector", "frames"].includes(side.kind)) return undefined;
  const [height, width] = sizeOf(side, values) ?? [0, 0];
  if (Math.min(height, width) < LEAST || Math.max(height, width) > LONG * Math.min(height, width)) return undefined;
  const [low, high] = rangeOf(side, values);
  if (values.length && low < 0) return undefined; // light is not negative
  const flat = side.kind === "vector";
  return {
    height, width, high, low: Math.max(0, low),
    whole: values.flat(Infinity).every(Number.isInteger),
    sure: values.length > 0,
    rows: (value) => (flat ? folded(value, width) : value),
    value: (rows) => (flat ? rows.flat() : rows),
  };
}
