// Tokens, numbers and colours, as every view shows them. `antiphon inspect` shows them in the same way.

export const END = "⏎"; // how the end symbol is shown
export const BEGIN = "▷"; // what a decoder reads first
const SPELLED = { " ": "␣", "\n": "↵", "\t": "⇥", "": "∅" };
const RIGHTWARD = /[\p{sc=Arab}\p{sc=Hebr}\p{sc=Syrc}\p{sc=Thaa}\p{sc=Nkoo}]/u;

/** A token as a picture shows it: spaces are seen, and a mark that stands on a letter has something to stand on. */
export const spelled = (token) =>
  token == null ? END : (SPELLED[token] ?? (/^\p{M}/u.test(token) ? `◌${token}` : token));

/** Tokens of what a decoder or a language model has read, which begins with no symbol. */
export const begun = (tokens) => [BEGIN, ...tokens.slice(1).map(spelled)];

/** Whether most letters are of a script that is read from right to left. */
export function rightward(tokens) {
  const letters = [...tokens.join("")].filter((letter) => /\p{L}/u.test(letter));
  return letters.filter((letter) => RIGHTWARD.test(letter)).length * 2 > letters.length;
}

export const cut = (text, longest) => ([...text].length <= longest ? text : `${[...text].slice(0, longest - 1).join("")}…`);

const ruler = document.createElement("canvas").getContext("2d");

/** Pixels that a text of a picture is wide. */
export function wide(text, size = 12) {
  ruler.font = `${size}px system-ui, sans-serif`;
  return ruler.measureText(text).width;
}

export const widest = (texts, size) => Math.max(0, ...texts.map((text) => wide(text, size)));

export const nats = (value) => (value == null ? "" : value.toFixed(3));
export const percent = (share) => (share > 0 && share < 0.001 ? "<0.1%" : `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)}%`);
export const probability = (logProb) => percent(Math.exp(logProb));

/** Whether a model wrote symbols: a series has numbers, and a view of its own. */
export const writesSymbols = (trace) => Boolean((trace.context || trace.prompt) && !trace.output.steps[0]?.values);

/** The colours of heat: of values above and below zero, as red, green and blue. */
const HEAT = { light: { above: [33, 102, 172], below: [178, 24, 43] }, dark: { above: [96, 165, 232], below: [240, 113, 104] } };

/** A grid as an address of a picture with a pixel for each cell: 0 is clear, `most` full; below zero has its own colour. */
export function heat(values, most, theme, { above, below } = HEAT[theme]) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [values[0].length, values.length];
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  values.flat().forEach((value, place) => {
    const color = value < 0 ? below : above;
    picture.data.set([...color, 255 * Math.min(1, Math.abs(value) / most)], 4 * place);
  });
  context.putImageData(picture, 0, 0);
  return canvas.toDataURL();
}

/** The largest size of a number in a grid. */
export const largest = (values) => values.reduce((most, row) => row.reduce((m, v) => Math.max(m, Math.abs(v)), most), 1e-9);

export const transposed = (values) => values[0].map((_, column) => values.map((row) => row[column]));

/** All tokens that were read, one source behind the other. */
export const tokensRead = (trace) => trace.sources.flatMap((source) => source.tokens);

/** Where a source ends and the next begins. */
export function borders(trace) {
  let place = 0;
  return trace.sources.slice(0, -1).map((source) => (place += source.tokens.length));
}

/** Whether a trace is of a model that writes. */
export const writes = (trace) => Boolean(trace.context ?? trace.prompt);
