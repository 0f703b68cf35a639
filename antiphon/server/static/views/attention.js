// Where in the input each output symbol looked.

import { html } from "../vendor/htm-preact.js";
import { borders, percent, spelled, tokensRead } from "../drawing.js";
import { gridTable, Heat, usePage } from "../picture.js";

const named = (trace) => [trace.output.tokens.map(spelled), tokensRead(trace).map(spelled)];

function Body({ trace }) {
  const { t, at, select, point } = usePage();
  const [rows, columns] = named(trace);
  const values = trace.output.attention;
  const here = values[at.step]?.[at.token] === undefined ? undefined : [at.step, at.token];
  return html`
    <${Heat} label=${t("attention.title")} values=${values} rows=${rows} columns=${columns} between=${borders(trace)}
      at=${here} onAt=${(step, token) => select({ step, token })} onHover=${(cell) => point(cell && { step: cell[0], token: cell[1] })}
      caption=${here && t("attention.told", { said: rows[at.step], read: columns[at.token], share: percent(values[at.step][at.token]) })} />`;
}

export const attention = {
  shows: ({ output, sources }) => Boolean(output.attention && !(sources.length === 1 && sources[0].picture)),
  Body,
  table: (trace, { t }) => gridTable(t("output"), trace.output.attention, ...named(trace)),
  data: ({ sources, output }) => ({ read: sources.map(({ tokens }) => tokens), said: output.tokens, attention: output.attention }),
};
