// node predict.js FOLDER [BEAM] < inputs: for every line the best output, a tab, and log p(output | input) in nats.
//
// FOLDER is what `antiphon export` has written for a model from one text to another, whose tokens are chars, words or
// split. Everything this program knows of the model stands in antiphon.json and the two vocabulary files.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";

const json = (folder, name) => JSON.parse(readFileSync(join(folder, name), "utf8"));
const compare = (a, b) => b - a; // the largest first; sorting keeps the order of equals

const SPLIT = {
  chars: (text) => [...text],
  words: (text) => text.split(/\s+/u).filter(Boolean),
  split: (text, { separator }) => text.split(separator).filter(Boolean),
};
const JOIN = { chars: () => "", words: () => " ", split: ({ separator }) => separator };

/** Texts to ids and back, as the vocabulary file says. */
class Codec {
  constructor({ tokens, options, normalize, lowercase, symbols, trims = false }, special) {
    if (!(tokens in SPLIT)) throw new Error(`this example has no tokenizer ${tokens}`);
    Object.assign(this, { tokens, options, normalize, lowercase, symbols, trims, special });
    this.ids = new Map(symbols.map((symbol, place) => [symbol, special.first + place]));
  }

  encode(text) {
    const read = this.trims ? text.trim() : text; // of a source whose training rows have no white space at their ends
    const normal = this.normalize === "none" ? read : read.normalize(this.normalize.toUpperCase());
    const symbols = SPLIT[this.tokens](this.lowercase ? normal.toLowerCase() : normal, this.options);
    return [...symbols.map((symbol) => this.ids.get(symbol) ?? this.special.unknown), this.special.end];
  }

  decode(ids) {
    return ids.map((id) => this.symbols[id - this.special.first]).join(JOIN[this.tokens](this.options));
  }
}

const ids = (values, dims) => new Tensor("int64", BigInt64Array.from(values, BigInt), dims);

/** The given rows of a tensor. */
function take(tensor, rows) {
  const size = tensor.data.length / tensor.dims[0];
  const data = new tensor.data.constructor(rows.length * size);
  rows.forEach((row, place) => data.set(tensor.data.subarray(row * size, (row + 1) * size), place * size));
  return new Tensor(tensor.type, data, [rows.length, ...tensor.dims.slice(1)]);
}

class Writer {
  static async load(folder) {
    const writer = new Writer();
    writer.manifest = json(folder, "antiphon.json");
    const { sources, target, graphs, symbols } = writer.manifest;
    if (sources.length !== 1 || !graphs.encode) throw new Error("this example is for a model from one text to another");
    const codec = ({ vocabulary }) => new Codec(json(folder, vocabulary), symbols);
    [writer.source, writer.target] = [codec(sources[0]), codec(target)];
    for (const name of ["encode", "step"]) {
      writer[name] = await InferenceSession.create(join(folder, graphs[name].file), { logSeverityLevel: 3 });
    }
    return writer;
  }

  /** Runs a graph; an input that it has no use for is left out. */
  run(graph, inputs) {
    return graph.run(Object.fromEntries(graph.inputNames.map((name) => [name, inputs[name]])));
  }

  /** The best output of a beam search for a text, and its score; a beam of 1 is greedy. */
  async predict(text, width) {
    const { sources, state: parts, symbols: special, decode, max_length: longest } = this.manifest;
    const read = this.source.encode(text);
    if (read.length === 1) return { text: "", score: 0 };
    if (read.length - 1 > longest) throw new Error(`has ${read.length - 1} tokens; the model reads ${longest}`);
    const name = sources[0].name;
    const given = { [name]: ids(read, [1, read.length]), [`${name}_lengths`]: ids([read.length], [1]) };
    let state = await this.run(this.encode, given);
    let prefixes = [{ said: [], score: 0, last: special.begin }];
    const done = [];
    for (let length = 0; ; length++) {
      const tokens = ids(prefixes.map(({ last }) => last), [prefixes.length]);
      const found = await this.run(this.step, { tokens, ...state });
      const count = found.log_probs.dims[1];
      const mayBeSaid = (id) =>
        id !== special.unknown && (id === special.end ? length >= decode.min_length : length < decode.max_length);
      const extensions = prefixes
        .flatMap(({ said, score }, row) =>
          Array.from({ length: count }, (_, id) => id).filter(mayBeSaid).map((id) => ({
            row, said, last: id, score: Math.fround(score + found.log_probs.data[row * count + id]),
          })),
        )
        .filter(({ score }) => score > -Infinity)
        .sort((a, b) => compare(a.score, b.score))
        .slice(0, 2 * width);
      for (const { said, last, score } of extensions.slice(0, width)) {
        if (last === special.end) done.push({ said, score, rank: score / (length + 1) ** decode.length_penalty });
      }
      prefixes = extensions.filter(({ last }) => last !== special.end).slice(0, width);
      const surest = Math.max(...done.map(({ score }) => score));
      if (!prefixes.length || (done.length >= width && prefixes[0].score <= surest)) break;
      // parts with an `after` are new, the others stay; each prefix goes on from the row that it extends
      const rows = prefixes.map(({ row }) => row);
      state = Object.fromEntries(parts.map(({ name, after }) => [name, take(after ? found[after] : state[name], rows)]));
      prefixes = prefixes.map(({ said, score, last }) => ({ said: [...said, last], score, last }));
    }
    const [best] = done.sort((a, b) => compare(a.rank, b.rank));
    return { text: this.target.decode(best.said), score: best.score };
  }
}

const [folder, width = "1"] = process.argv.slice(2);
if (!folder || !(Number(width) >= 1)) {
  console.error("usage: node predict.js FOLDER [BEAM] < inputs");
  process.exit(2);
}
const writer = await Writer.load(folder);
for (const line of readFileSync(0, "utf8").replace(/\n$/, "").split("\n")) {
  const { text, score } = await writer.predict(line.replace(/\r$/, ""), Number(width));
  console.log(`${text}\t${score.toFixed(4)}`);
}
