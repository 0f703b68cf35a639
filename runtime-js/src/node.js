// Exported folders in Node.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { FolderError } from "./errors.js";
import { load } from "./loading.js";

export * from "./index.js";

/** The files of a folder. @param {string} folder @returns {import("./loading.js").Files} */
export const fromFolder = (folder) => async (name) => {
  try {
    return new Uint8Array(await readFile(join(folder, name)));
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT") return undefined;
    throw error;
  }
};

/** The model of an exported folder, which runs on one thread unless `threads` says otherwise. @param {string} folder @param {number} [threads] */
export async function loadFolder(folder, threads = 1) {
  try {
    return await load(fromFolder(folder), ort, { intraOpNumThreads: threads, interOpNumThreads: 1 });
  } catch (error) {
    if (error instanceof FolderError) error.message = join(folder, error.message);
    throw error;
  }
}
