// A recurrent layer step by step: its state, its gates, and the equations of one unit with their numbers.

import { html, useEffect, useMemo, useState } from "../vendor/htm-preact.js";
import { percent, probability, spelled } from "../drawing.js";
import { Choice, Heat, usePage } from "../picture.js";
import { Scrolls } from "../scrolling.js";
import { whole } from "../state.js";
import { blockName, equations, shownNumber } from "./equations.js";
import { all, axisOf, layerChosen, nameOf, readBy } from "./states.js";

const PACE = 900; // ms for a step
const WIDE = 640; // pixels of all units, unless these are many

/** The rows of the picture: before, the gates, after. Without an order of its own a series stands where the trace has it. */
function rowsOf(layer, place) {
  const { state, cell, ...gates } = layer.series;
  const earlier = layer.direction === "backward" ? place + 1 : place - 1;
  const squashed = (values) => values.map(Math.tanh); // as the output has it
  return [
    ["hₜ₋₁", state[earlier] ?? layer.start.state],
    ...Object.entries(gates).map(([name, grid]) => [blockName(name, layer), grid[place]]),
    ...(cell ? [["tanh cₜ", squashed(cell[place])]] : []),
    ["hₜ", state[place]],
  ];
}

/** The moment and the ways through time; a backward layer begins at the end. */
function useTime(layer, axis) {
  const { state, select } = usePage();
  const [plays, setPlays] = useState(false);
  const count = layer.tokens.length;
  const turned = (place) => (layer.direction === "backward" ? count - 1 - place : place);
  const chosen = whole(state[axis]);
  const moment = chosen < count ? turned(chosen) : 0;
  const go = (next) => select({ [axis]: turned(Math.max(0, Math.min(count - 1, next))) });
  const last = moment === count - 1;
  useEffect(() => {
    if (!plays) return undefined;
    if (last) return setPlays(false);
    const timer = setTimeout(() => go(moment + 1), PACE);
    return () => clearTimeout(timer);
  }, [plays, moment, layer]);
  const play = () => {
    if (!plays && last) go(0);
    setPlays(!plays);
  };
  return { moment, place: turned(moment), count, plays, play, go: (next) => (setPlays(false), go(next)) };
}

/** What happens at a step, in words. */
function happening(trace, layer, { moment, place, count }, t) {
  const read = readBy(trace, layer)[place];
  const parts = [t("play.at", { step: moment + 1, count, read })];
  if (layer.part === "decoder") {
    const step = trace.output.steps[place];
    parts.push(t("play.writes", { said: spelled(step.token), share: probability(step.log_prob) }));
    const looked = trace.output.attention?.[place];
    const most = looked && looked.indexOf(Math.max(...looked));
    if (looked) parts.push(t("play.looks", { read: spelled(trace.sources.flatMap(({ tokens }) => tokens)[most]), share: percent(looked[most]) }));
  }
  return parts.join(t("gap"));
}

const SIGNS = { // drawn, since not every font has them
  first: "M3 2h2v12H3zM14 2v12L6 8z", back: "M12 2v12L4 8z", play: "M4 2v12l9-6z", pause: "M3 2h4v12H3zM9 2h4v12H9z", on: "M2 2v12l8-6zM11 2h2v12h-2z",
};

function Controls({ time, t }) {
  const { moment, count, plays, play, go } = time;
  const button = (name, act, off) => html`
    <button type="button" aria-label=${t(`play.${name}`)} title=${t(`play.${name}`)} data-play=${name} disabled=${off} onClick=${act}>
      <svg class="sign" viewBox="0 0 16 16" aria-hidden="true"><path d=${SIGNS[name]} /></svg></button>`;
  return html`
    <div class="controls" role="group" aria-label=${t("play.title")}>
      ${button("first", () => go(0), moment === 0)}
      ${button("back", () => go(moment - 1), moment === 0)}
      ${plays ? button("pause", play) : button("play", play)}
      ${button("on", () => go(moment + 1), moment === count - 1)}
      <input type="range" min="0" max=${count - 1} value=${moment} aria-label=${t("step.head")} onInput=${(event) => go(Number(event.currentTarget.value))} />
    </div>`;
}

function Equations({ layer, place, unit }) {
  const { t } = usePage();
  const lines = equations(layer, place, unit);
  if (!lines.length) return html`<p class="hint">${t("play.unnamed")}</p>`;
  return html`
    <dl class="equations">${lines.map(({ name, formula, numbers, value, gate }) => html`
      <div data-equation=${name}>
        <dt>${name}${gate && html` <small>${t(`states.${gate}`)}</small>`}</dt>
        <dd>= ${formula}</dd><dd>= ${numbers}</dd>
        <dd class="value">= ${shownNumber(value)} ${gate && html`<span class="gauge" aria-hidden="true"><span style=${{ width: `${100 * value}%` }}></span></span>`}</dd>
      </div>`)}</dl>`;
}

function Body({ trace }) {
  const page = usePage();
  const { t, state, change } = page;
  const { layers, number, layer } = layerChosen(trace, page);
  const time = useTime(layer, axisOf(layer));
  const units = layer.series.state[0].length;
  const unit = Math.min(whole(state.unit) ?? 0, units - 1);
  const { place, moment } = time;
  const rows = useMemo(() => rowsOf(layer, place), [layer, place]);
  const values = useMemo(() => rows.map(([, row]) => row), [rows]);
  const names = rows.map(([name]) => name);
  const order = layer.tokens.map((_, step) => (layer.direction === "backward" ? time.count - 1 - step : step));
  const read = readBy(trace, layer);
  return html`
    <div class="choices">
      <${Choice} label=${t("states.layer")} value=${String(number)} onChoose=${(key) => change({ layer: key, series: null })}
        options=${layers.map((other, key) => [String(key), nameOf(other, t)])} />
      <label class="choice"><span>${t("states.unit")}</span>
        <input type="number" min="1" max=${units} value=${unit + 1} onInput=${({ currentTarget: { valueAsNumber } }) => valueAsNumber >= 1 && valueAsNumber <= units && change({ unit: valueAsNumber - 1 })} /></label>
    </div>
    <${Controls} time=${time} t=${t} />
    <${Scrolls} class="row timeline" dir="auto" role="group" aria-label=${t("play.read")}>${order.map((step, at) => html`
      <button type="button" class=${step === place ? "on" : at > moment ? "later" : ""} aria-pressed=${step === place} data-moment=${at} onClick=${() => time.go(at)}><bdi>${read[step]}</bdi></button>`)}<//>
    <p class="told" aria-live="polite">${happening(trace, layer, time, t)}</p>
    <${Heat} label=${`${nameOf(layer, t)}: ${t("play.title")}`} values=${values} rows=${names} columns=${values[0].map((_, column) => String(column + 1))} signed
      cell=${[Math.max(5, Math.min(40, WIDE / units)), 22]} at=${[Math.max(0, Math.min(rows.length - 1, whole(state.part) ?? rows.length - 1)), unit]}
      onAt=${(row, column) => change({ unit: column, part: row })}
      caption=${t("play.told", { unit: unit + 1, values: rows.map(([, row], line) => `${names[line]} ${shownNumber(row[unit])}`).join(t("comma")) })} />
    <h3>${t("play.unit", { unit: unit + 1, step: moment + 1 })}</h3>
    <${Equations} layer=${layer} place=${place} unit=${unit} />
    ${layer.zoneout > 0 && html`<p class="hint">${t("play.zoneout", { share: layer.zoneout })}</p>`}`;
}

export const play = {
  wide: true,
  shows: (trace) => all(trace).length > 0,
  Body,
  table: (trace, page) => {
    const { layer } = layerChosen(trace, page);
    const unit = Math.min(whole(page.state.unit) ?? 0, layer.series.state[0].length - 1);
    const read = readBy(trace, layer);
    const names = equations(layer, 0, unit).map(({ name }) => name);
    return {
      head: [page.t("step.head"), page.t("token"), ...names],
      rows: read.map((token, place) => [place + 1, token, ...equations(layer, place, unit).map(({ value }) => value.toFixed(6))]),
    };
  },
  data: (trace) => ({ encoder: trace.encoder, decoder: trace.output.layers }),
};
