// What the page asks of its model, which runs in this browser: the same functions as those of a server's page.

import { explain as traced, fromAddress, load, ModelError, thumbnail } from "./runtime/index.js";

export const DOCS = undefined; // there is no server with paths to explain

/** What went wrong, as a server's problem details. */
export class Problem extends Error {
  constructor({ title, detail, code }) {
    super(title);
    Object.assign(this, { title, detail, code });
  }
}

/** There is no server that needs a token. */
export function useToken() {}

const here = (path) => new URL(path, document.baseURI);

/** ONNX Runtime on one thread, which works on every static host: several need headers of the server. */
async function runtime() {
  const ort = await import("./ort/ort.wasm.bundle.min.mjs").catch((error) => {
    throw new Problem({ title: "The folder ort is missing.", detail: error.message, code: "runtime_missing" });
  });
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { wasm: here("ort/ort-wasm-simd-threaded.wasm").href };
  return ort;
}

async function begun() {
  const [ort, { card, files }] = await Promise.all([runtime(), fetch(here("page.json")).then((answer) => answer.json())]);
  return { card, model: await load(fromAddress(here("model/"), files), ort) };
}

let held;

/** The model, which is loaded once. */
function loaded() {
  held ??= begun();
  return held;
}

async function refusing(work) {
  try {
    return await work(await loaded());
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new Problem({ title: error.message, detail: error.message, code: error.code });
  }
}

/** The pixels of a picture's file in base64, no side longer than `longest`. */
async function pixelsOf(content, longest) {
  const bytes = Uint8Array.from(atob(content), (character) => character.codePointAt(0));
  const picture = await createImageBitmap(new Blob([bytes])).catch(() => {
    throw new Problem({ title: "invalid", detail: "is not an image, or it is damaged", code: "invalid_input" });
  });
  const canvas = Object.assign(document.createElement("canvas"), { width: picture.width, height: picture.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, picture.width, picture.height);
  return thumbnail({ height: picture.height, width: picture.width, channels: 4, data }, longest);
}

/** A value of a source as the model reads it. */
const readers = {
  image: (value, side) => pixelsOf(value, Math.max(...side.pixels)),
  images: (value, side) => Promise.all(value.map((content) => pixelsOf(content, Math.max(...side.pixels)))),
};

async function inputOf(card, input) {
  const sides = card.sources.filter((side) => side.kind !== "none");
  const read = (value, side) => (readers[side.kind] ?? ((same) => same))(value, side);
  return sides.length === 1 ? read(input, sides[0]) : Promise.all((input ?? []).map((value, place) => read(value, sides[place])));
}

/** The model's card, once it is loaded. */
export const models = () => refusing(({ card }) => ({ models: [card], limits: {} }));

/** The answer to one input. */
export const predict = (_, input, options) =>
  refusing(async ({ card, model }) => (await model.predict([await inputOf(card, input)], options))[0]);

/** log p(target | input) in nats. */
export const score = (_, input, target) =>
  refusing(async ({ card, model }) => (await traced(model, await inputOf(card, input), {}, { reference: target })).reference.score);

/** The trace of one input. */
export const explain = ({ input, options, begin, reference }) =>
  refusing(async ({ card, model }) => {
    const { beam, length_penalty, min_length, max_length } = options ?? {};
    const bounds = Object.entries({ beam, length_penalty, min_length, max_length }).filter(([, value]) => value !== undefined);
    return traced(model, await inputOf(card, input), Object.fromEntries(bounds), { begin, reference });
  });

/** Calls `onEvent(name, data)` for each symbol that is written, or each step that is answered. */
export const stream = (_, inputs, onEvent, signal) =>
  refusing(async ({ card, model }) => {
    if (card.streams === "steps") {
      for await (const answer of model.steps(inputs)) {
        if (signal?.aborted) return;
        if (answer) onEvent("step", answer);
      }
    } else {
      let count = 0;
      for await (const answer of model.write(await inputOf(card, inputs[0]))) {
        if (signal?.aborted) return;
        onEvent("token", { ...answer, token: answer.tokens.length > count ? answer.tokens.at(-1) : null });
        count = answer.tokens.length;
        await new Promise((next) => setTimeout(next)); // the page draws what is there
      }
    }
    onEvent("end", {});
  });

navigator.serviceWorker?.register(here("offline.js")).catch(() => {}); // an address without https works, but not offline
