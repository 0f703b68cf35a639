// Every error that is thrown on purpose; each is written for the person who reads it.

/** The root: anything that a user can fix. `code` names its kind for programs. */
export class ModelError extends Error {
  /** @type {string} */
  code = "invalid";
}

/** A file of an exported folder is missing, damaged, or of another format. */
export class FolderError extends ModelError {
  code = "invalid_folder";
}

/** An input cannot be read. */
export class InputError extends ModelError {
  code = "invalid_input";
}

/** An input has more steps than the model reads. */
export class TooLongError extends InputError {
  code = "input_too_long";
}

/** An option of decoding that is not known, or a value that it cannot have. */
export class OptionError extends ModelError {
  code = "invalid_options";
}
