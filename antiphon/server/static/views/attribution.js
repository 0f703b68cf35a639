// What each output symbol depends on: input x gradient.

import { html } from "../vendor/htm-preact.js";
import { begun, borders, spelled } from "../drawing.js";
import { gridTable, Heat, usePage } from "../picture.js";

/** All sources beside each other; the values stay the same ones as long as the trace does. */
const joined = new WeakMap();
function grid(trace) {
  if (!joined.has(trace)) {
    const values = trace.attribution[0].values.map((_, step) => trace.attribution.flatMap((part) => part.values[step]));
    joined.set(trace, values);
  }
  return joined.get(trace);
}

function named(trace, t) {
  const tokens = trace.attribution.flatMap((part) => part.tokens);
  const numbers = trace.output.steps[0].values !== undefined && trace.output.steps[0].values !== null;
  const output = trace.output.steps.map((step, place) => (numbers ? t("step", { step: place + 1 }) : spelled(step.token)));
  return [output, trace.prompt ? begun(tokens) : tokens.map(spelled)];
}

function Body({ trace }) {
  const { t, at, select, point } = usePage();
  const [rows, columns] = named(trace, t);
  const values = grid(trace);
  const shift = trace.prompt ? 1 : 0; // a language model has read no symbol before the first
  const step = at.step ?? (values.length === 1 ? 0 : undefined);
  const here = values[step]?.[at.token + shift] === undefined ? undefined : [step, at.token + shift];
  const chosen = ([step, token]) => ({ step, token: Math.max(0, token - shift) });
  return html`
    <${Heat} label=${t("attribution.title")} values=${values} rows=${rows} columns=${columns} signed
      between=${trace.prompt ? [] : borders(trace)} at=${here} onAt=${(...cell) => select(chosen(cell))} cell=${[38, 26]}
      onHover=${(cell) => point(cell && chosen(cell))}
      caption=${here && t("attribution.told", { said: rows[here[0]], read: columns[here[1]], value: values[here[0]][here[1]].toFixed(3) })} />`;
}

export const attribution = {
  shows: ({ attribution, sources }) => Boolean(attribution?.some(({ tokens }) => tokens.length > 1) && !sources[0].picture),
  Body,
  table: (trace, { t }) => gridTable(t("output"), grid(trace), ...named(trace, t)),
  data: ({ attribution }) => attribution,
};
