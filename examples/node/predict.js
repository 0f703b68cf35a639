// node predict.js FOLDER [BEAM] < inputs: for every line the best output; of a model that writes with a tab and log p(output |
// input) in nats.
//
// FOLDER is what `antiphon export` has written. All that reads it is the package antiphon-runtime, in runtime-js.

import { readFileSync } from "node:fs";
import { loadFolder, ModelError } from "antiphon-runtime/node";

/** A prediction as a line. */
function line({ text, score, label, labels, value, values }) {
  if (text !== undefined) return `${text}\t${score === null ? "" : score.toFixed(4)}`;
  return label ?? labels?.join(" ") ?? JSON.stringify(value ?? values);
}

const [folder, width] = process.argv.slice(2);
if (!folder || (width !== undefined && !(Number(width) >= 1))) {
  console.error("usage: node predict.js FOLDER [BEAM] < inputs");
  process.exit(2);
}
try {
  const model = await loadFolder(folder);
  const inputs = readFileSync(0, "utf8").replace(/\n$/, "").split("\n").map((text) => text.replace(/\r$/, ""));
  const options = width === undefined || model.decode === null ? {} : { beam: Number(width) };
  for (const prediction of await model.predict(inputs, options)) console.log(line(prediction));
} catch (error) {
  if (!(error instanceof ModelError)) throw error;
  console.error(error.message);
  process.exit(1);
}
