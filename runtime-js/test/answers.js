// node answers.js < jobs.json: the answers of models to lists of inputs, as JSON. A job is {folder, calls}, a call {inputs,
// options}, or {explain, options, asked} or {steps} or {write}. A call that is refused gives {error, code}.

import { readFileSync } from "node:fs";
import { explain, loadFolder, ModelError } from "../src/node.js";

/** @param {AsyncIterable<any>} generator */
async function all(generator) {
  const items = [];
  for await (const item of generator) items.push(item);
  return items;
}

/** @param {import("../src/index.js").Model} model @param {any} call */
async function answer(model, call) {
  if (call.explain !== undefined) return explain(model, call.explain, call.options, call.asked);
  if (call.steps) return all(model.steps(call.steps));
  if (call.write !== undefined) return all(model.write(call.write));
  const began = performance.now();
  const answers = await model.predict(call.inputs, call.options);
  return call.timed ? { seconds: (performance.now() - began) / 1000, texts: answers.map(({ text }) => text) } : answers;
}

const results = [];
for (const { folder, calls } of JSON.parse(readFileSync(0, "utf8"))) {
  const answers = [];
  try {
    const model = await loadFolder(folder);
    for (const call of calls) answers.push(await answer(model, call).catch(refused));
  } catch (error) {
    answers.push(refused(error));
  }
  results.push(answers);
}
console.log(JSON.stringify(results));

/** @param {any} error */
function refused(error) {
  if (!(error instanceof ModelError)) throw error;
  return { error: error.message, code: error.code };
}
