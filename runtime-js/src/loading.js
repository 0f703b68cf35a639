// From an exported folder to a model.

import { Calibration } from "./calibration.js";
import { codecOf } from "./codecs.js";
import { FolderError } from "./errors.js";
import { Graph } from "./graph.js";
import { knownAnswers } from "./known.js";
import { Model } from "./model.js";

const FORMAT = 1;
const MANIFEST = "antiphon.json";

/** The content of a file of a folder by its name; undefined if there is none. @typedef {(name: string) => Promise<Uint8Array | undefined>} Files */

/** @param {Files} files @param {string} name */
async function json(files, name) {
  const content = await files(name);
  if (!content) throw new FolderError(`${name}: is missing`);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(content));
  } catch (error) {
    throw new FolderError(`${name}: is not JSON: ${/** @type {Error} */ (error).message}`);
  }
}

/**
 * The model of what `antiphon export` has written. `ort` is onnxruntime-node or onnxruntime-web. A damaged folder is a
 * `FolderError`.
 * @param {Files} files @param {import("./graph.js").Ort} ort @param {import("onnxruntime-common").InferenceSession.SessionOptions} [options]
 */
export async function load(files, ort, options = {}) {
  const manifest = await json(files, MANIFEST);
  if (manifest.format !== FORMAT) {
    throw new FolderError(`${MANIFEST}: has the format ${manifest.format}; this version reads format ${FORMAT}`);
  }
  if (manifest.decode?.sample) throw new FolderError(`${MANIFEST}: draws symbols (decode.sample), which this package does not do`);
  const sides = [];
  for (const { vocabulary } of [...manifest.sources, manifest.target]) {
    const value = await json(files, vocabulary);
    try {
      sides.push(codecOf(value));
    } catch (error) {
      throw new FolderError(`${vocabulary}: is incomplete or damaged: ${/** @type {Error} */ (error).message}`);
    }
  }
  const quiet = { logSeverityLevel: /** @type {const} */ (3), extra: { session: { set_denormal_as_zero: "1" } }, ...options };
  /** @type {Record<string, Graph>} */
  const graphs = {};
  for (const [name, { file }] of Object.entries(manifest.graphs)) {
    const content = await files(file);
    if (!content) throw new FolderError(`${file}: is missing`);
    try {
      graphs[name] = new Graph(ort, await ort.InferenceSession.create(content, quiet));
    } catch (error) {
      throw new FolderError(`${file}: is damaged: ${/** @type {Error} */ (error).message}`);
    }
  }
  const fitted = (await files("calibration.json")) && (await json(files, "calibration.json")).calibration;
  const known = await files("exceptions.tsv");
  const answers = known ? knownAnswers(new TextDecoder().decode(known), sides.slice(0, -1), sides[sides.length - 1]) : new Map();
  return new Model(manifest, sides, graphs, fitted ? new Calibration(fitted) : null, answers);
}

/** The files below an address, by `fetch`; of `names`, if they are known, no other is asked for. @param {string | URL} base @param {readonly string[]} [names] @returns {Files} */
export const fromAddress = (base, names) => async (name) => {
  if (names && !names.includes(name)) return undefined;
  const answer = await fetch(new URL(name, base));
  if (answer.status === 404) return undefined;
  if (!answer.ok) throw new FolderError(`${name}: cannot be fetched: ${answer.status} ${answer.statusText}`);
  return new Uint8Array(await answer.arrayBuffer());
};
