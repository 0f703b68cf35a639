// Every layer's states and gates over time.

import { html, useMemo } from "../vendor/htm-preact.js";
import { begun, percent, spelled, transposed } from "../drawing.js";
import { Choice, gridTable, Heat, usePage } from "../picture.js";

const GATES = ["input", "forget", "output", "reset", "update"];
const [SHUT, OPEN] = [0.05, 0.95]; // beyond these a gate is saturated; a state or candidate is beyond OPEN on either side
const HIGHEST = 420; // pixels

export const all = ({ encoder, output }) => [...(encoder ?? []), ...(output.layers ?? [])];
const gate = (name) => GATES.includes(name);
export const nameOf = (layer, t) => `${layer.part} ${layer.depth + 1}${layer.direction === "backward" ? ` (${t("states.backward")})` : ""}`;

function saturated(values, series) {
  const low = gate(series) ? SHUT : -OPEN;
  return [values.filter((value) => value < low).length / values.length, values.filter((value) => value > OPEN).length / values.length];
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const spread = (values) => Math.sqrt(mean(values.map((value) => (value - mean(values)) ** 2)));

/** Orders of units, by what a unit did over time: the largest first. */
const SORTS = {
  unit: null,
  mean,
  change: spread,
  last: (values) => values.at(-1),
  saturation: (values, series) => saturated(values, series).reduce((low, high) => low + high),
};

/** The layer that is chosen, and its number among all. */
export function layerChosen(trace, { state }) {
  const layers = all(trace);
  const number = Math.min(Number(state.layer ?? 0), layers.length - 1);
  return { layers, number, layer: layers[number] };
}

function chosen(trace, { state }) {
  const { layers, number, layer } = layerChosen(trace, { state });
  const series = layer.series[state.series] ? state.series : "state";
  return { layers, number, layer, series, sort: state.sort in SORTS ? state.sort : "unit" };
}

function ordered({ layer, series, sort }) {
  const units = transposed(layer.series[series]);
  const order = units.map((_, unit) => unit);
  if (SORTS[sort]) {
    const keys = units.map((values) => SORTS[sort](values, series));
    order.sort((left, right) => keys[right] - keys[left]);
  }
  return { order, values: order.map((unit) => units[unit]) };
}

/** What each step of a layer has read. */
export const readBy = (trace, layer) =>
  layer.part === "decoder" || trace.prompt ? begun(layer.tokens) : layer.tokens.map(spelled);

/** Which places the steps of a layer are, in all views. */
export const axisOf = (layer) => (layer.part === "decoder" ? "step" : "token");

function Body({ trace }) {
  const page = usePage();
  const { t, state, change, at, select } = page;
  const { layers, number, layer, series, sort } = chosen(trace, page);
  const { order, values } = useMemo(() => ordered({ layer, series, sort }), [layer, series, sort]);
  const columns = readBy(trace, layer);
  const axis = axisOf(layer);
  const row = Math.max(0, order.indexOf(Number(state.unit ?? order[0])));
  const here = at[axis] < columns.length ? [row, at[axis]] : undefined;
  const [low, high] = saturated(values.flat(), series);
  return html`
    <div class="choices">
      <${Choice} label=${t("states.layer")} value=${String(number)} onChoose=${(key) => change({ layer: key, series: null })}
        options=${layers.map((other, key) => [String(key), nameOf(other, t)])} />
      <${Choice} label=${t("states.series")} value=${series} onChoose=${(key) => change({ series: key })}
        options=${Object.keys(layer.series).map((key) => [key, t(`states.${key}`)])} />
      <${Choice} label=${t("states.sort")} value=${sort} onChoose=${(key) => change({ sort: key })}
        options=${Object.keys(SORTS).map((key) => [key, t(`states.by.${key}`)])} />
    </div>
    <p class="hint">${t(gate(series) ? "states.gates" : "states.bounds", { units: order.length, low: percent(low), high: percent(high) })}</p>
    <${Heat} label=${`${nameOf(layer, t)}: ${t(`states.${series}`)}`} values=${values} rows=${order.map((unit) => String(unit + 1))} columns=${columns}
      signed=${!gate(series)} write=${false} cell=${[Math.max(18, Math.min(34, 620 / columns.length)), 14]} tall=${Math.max(90, Math.min(HIGHEST, 14 * order.length))}
      at=${here} onAt=${(r, column) => (change({ unit: order[r] }), select({ [axis]: column }))}
      caption=${here && t("states.told", { unit: order[row] + 1, read: columns[here[1]], value: values[row][here[1]].toFixed(3) })} />`;
}

export const states = {
  wide: true,
  shows: (trace) => all(trace).length > 0,
  Body,
  table: (trace, page) => {
    const selection = chosen(trace, page);
    const { order, values } = ordered(selection);
    return gridTable(page.t("states.unit"), values, order.map((unit) => unit + 1), readBy(trace, selection.layer));
  },
  data: (trace) => ({ encoder: trace.encoder, decoder: trace.output.layers }),
};
