// Runs exported models of Antiphon on ONNX Runtime, in a browser or in Node: `(await load(files, ort)).predict(["knight"])`.

export { KINDS } from "./codecs.js";
export { FolderError, InputError, ModelError, OptionError, TooLongError } from "./errors.js";
export { explain } from "./explaining.js";
export { fromAddress, load } from "./loading.js";
export { Model } from "./model.js";
export { thumbnail } from "./pictures.js";
export { TOKENIZERS } from "./text.js";
