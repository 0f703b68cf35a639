// What share each state has in the pool.

import { html } from "../vendor/htm-preact.js";
import { borders, percent, spelled, tokensRead } from "../drawing.js";
import { gridTable, Heat, usePage } from "../picture.js";

const rows = new WeakMap();
const grid = ({ pooling }) => rows.get(pooling) ?? (rows.set(pooling, [pooling]), rows.get(pooling));

function Body({ trace }) {
  const { t, at, select, point } = usePage();
  const columns = tokensRead(trace).map(spelled);
  const here = trace.pooling[at.token] === undefined ? undefined : [0, at.token];
  return html`
    <${Heat} label=${t("pooling.title")} values=${grid(trace)} rows=${[""]} columns=${columns} most=${Math.max(...trace.pooling)}
      between=${borders(trace)} at=${here} onAt=${(_, token) => select({ token })} onHover=${(cell) => point(cell && { token: cell[1] })}
      caption=${here && t("pooling.told", { read: columns[at.token], share: percent(trace.pooling[at.token]) })} />`;
}

export const pooling = {
  shows: ({ pooling }) => Boolean(pooling),
  Body,
  table: (trace, { t }) => gridTable("", grid(trace), [t("share")], tokensRead(trace).map(spelled)),
  data: (trace) => ({ read: tokensRead(trace), pooling: trace.pooling }),
};
