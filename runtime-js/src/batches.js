// Inputs in batches of similar length.

const ROWS = 256; // rows of a batch, at most
const TOKENS = 16384; // padded source steps of a batch, at most

/**
 * Places of rows, the longest first. @param {readonly number[]} lengths @param {number} width prefixes of a row
 * @returns {Generator<number[]>}
 */
export function* batchesByLength(lengths, width) {
  const order = lengths.map((_, row) => row).sort((left, right) => lengths[right] - lengths[left]);
  for (let start = 0; start < order.length; ) {
    const fit = Math.floor(Math.min(ROWS, Math.floor(TOKENS / Math.max(1, lengths[order[start]]))) / width);
    const rows = Math.max(1, fit);
    yield order.slice(start, start + rows);
    start += rows;
  }
}
