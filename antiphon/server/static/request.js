// From the state of the page to requests, and from these to answers.

import { useEffect, useState } from "./vendor/htm-preact.js";
import * as api from "./api.js";
import { asInput, asTarget, reading, valuesOf } from "./inputs.js";
import { parsed, whole } from "./state.js";

export const OPTIONS = { beam: 1, n_best: 1, length_penalty: 0.1, min_length: 1, max_length: 1 }; // and the steps of their fields
const OUTPUTS = 5; // outputs that are shown, where a search finds as many
const ONWARD = 60; // the most symbols that a language model writes, unless the state has a number

/** What belongs to one input of one model, and is forgotten with them. */
export const FORGOTTEN = {
  branches: null, branch: null, step: null, token: null, node: null, layer: null, series: null, unit: null, label: null, rank: null,
  run: null, moment: null,
};

/** The options that this model takes, as the state has them, or what the page or the model takes for them. */
export function optionsOf(card, state) {
  const names = card.options.map(({ name }) => name).filter((name) => name in OPTIONS);
  const defaults = Object.fromEntries(card.options.map(({ name, default: value }) => [name, value]));
  const chosen = Object.fromEntries(names.filter((name) => state[name] !== undefined).map((name) => [name, Number(state[name])]));
  const beam = chosen.beam ?? defaults.beam ?? 1;
  return {
    ...(names.includes("n_best") && beam > 1 && { n_best: Math.min(OUTPUTS, beam) }),
    ...(card.target.kind === "next" && defaults.max_length > ONWARD && { max_length: ONWARD }),
    ...chosen,
  };
}

/** The request of the state to a model; undefined if it has no input. */
export function requestOf(card, state) {
  if (!card || state.input === undefined) return undefined;
  const sides = reading(card);
  const sourceValues = valuesOf(sides, parsed(state.input, []));
  const { n_best, ...options } = optionsOf(card, state);
  const branches = parsed(state.branches, []);
  const begin = branches[whole(state.branch) - 1];
  return {
    sourceValues,
    input: asInput(sourceValues),
    options: { ...options, ...(n_best && { n_best }) },
    body: {
      model: card.name,
      input: asInput(sourceValues),
      options,
      ...(state.reference && { reference: asTarget(card.target, state.reference) }),
      ...(state.other && { other: asInput(valuesOf(sides, parsed(state.other, []))) }),
      ...(begin && { begin }),
    },
  };
}

/**
 * The answer to a request, which is sent again when its `key` changes, and then the one before is aborted; undefined: there
 * is none. {value, key} or {problem, key}; until it comes, the last one with `waits`. Nothing is sent until it is `due`.
 */
export function useAnswer(ask, key, due = true) {
  const [answer, setAnswer] = useState({});
  useEffect(() => {
    if (key === undefined) return setAnswer({});
    const leaving = new AbortController();
    setAnswer((before) => ({ ...before, waits: true }));
    if (due)
      ask(leaving.signal).then(
        (value) => leaving.signal.aborted || setAnswer({ value, key }),
        (problem) => leaving.signal.aborted || setAnswer({ problem, key }),
      );
    return () => leaving.abort();
  }, [key, due]);
  return answer;
}

/** The answer, and the log p of a reference from the server. */
export async function answered(card, { input, options, body }, signal) {
  const scores = card.scores && body.reference !== undefined && card.target.kind !== "next";
  const [prediction, reference] = await Promise.all([
    api.predict(card.name, input, options, signal),
    scores ? api.score(card.name, input, body.reference, signal) : undefined,
  ]);
  return { ...prediction, reference };
}

/** The steps of a sequence that is answered step by step. */
export function stepsOf(card, value) {
  return card.sources[0].kind === "text" ? value.split(/\s+/).filter(Boolean) : value;
}

/** What a stream has sent, and one event more. */
export function follow(live, name, data) {
  if (name === "token") return { ...live, text: data.text, score: data.score, symbols: data.token === null ? live.symbols : [...live.symbols, data.token] };
  if (name === "step") return { ...live, symbols: [...live.symbols, data.label ?? data.labels?.[0] ?? JSON.stringify(data.value ?? data.values)] };
  if (name === "error" || data.error) return { ...live, problem: data.error ?? data };
  return name === "end" ? { ...live, waits: false } : live;
}
