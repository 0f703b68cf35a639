// How far back an output still depends on what was read: the gradient over distance.

import { html } from "../vendor/htm-preact.js";
import { begun, cut, percent, spelled, widest } from "../drawing.js";
import { cursor, Facts, Picture, usePage } from "../picture.js";

const [HIGH, DECADES, BAR] = [150, 4, 26]; // pixels of the axis; from the largest down to 1/10000 of it; a bar with its gap
const LETTERS = 3; // of a token

/**
 * The tokens of each source, with the steps between reading each and writing at a step of the output: 0 is what was read
 * just before, less than 0 what comes after it (where both directions are read).
 */
function distances(trace, step) {
  const synchronous = trace.structure === "synchronous" && !trace.prompt;
  return trace.attribution.flatMap(({ tokens, norms }) => {
    const last = trace.prompt ? trace.prompt.steps.length + step : synchronous ? step : tokens.length - 1;
    const written = trace.context ? step : 0;
    const names = trace.prompt ? begun(tokens) : tokens.map(spelled);
    return names.map((name, place) => ({ name, place, distance: last - place + written, norm: norms[step][place] })).filter(({ distance }) => !trace.prompt || distance >= 0);
  });
}

/** The mean over all steps of the output, by distance. */
function means(trace) {
  const sums = new Map();
  trace.output.steps.forEach((_, step) => distances(trace, step).forEach(({ distance, norm }) => {
    const [sum, count] = sums.get(distance) ?? [0, 0];
    sums.set(distance, [sum + norm, count + 1]);
  }));
  return new Map([...sums].map(([distance, [sum, count]]) => [distance, sum / count]));
}

/** The least number of steps, back or ahead, within which a share of the gradients' norms lies. */
function within(points, share) {
  const total = points.reduce((sum, { norm }) => sum + norm, 0);
  let sum = 0;
  return points.toSorted((left, right) => Math.abs(left.distance) - Math.abs(right.distance)).find(({ norm }) => (sum += norm) >= share * total);
}

const stepOf = (trace, at) => Math.min(at.step ?? 0, trace.output.steps.length - 1);
const near = (trace, step) => distances(trace, step).toSorted((left, right) => left.distance - right.distance);
const output = ({ token, values }, step, t) => (values ? t("step", { step: step + 1 }) : spelled(token));

function Body({ trace }) {
  const { t, at, select } = usePage();
  const step = stepOf(trace, at);
  const points = near(trace, step);
  const most = Math.max(...points.map(({ norm }) => norm), 1e-12);
  const level = (norm) => Math.max(0, 1 + Math.log10(Math.max(norm, 1e-12) / most) / DECADES) * HIGH;
  const left = widest(["1/10000", t("token"), t("distance.head")]) + 14;
  const x = (place) => left + place * BAR;
  const [top, base] = [10, 10 + HIGH];
  const here = points.findIndex(({ place }) => place === (at.token ?? -1) + (trace.prompt ? 1 : 0));
  const onAt = (_, place) => select({ token: Math.max(0, points[place].place - (trace.prompt ? 1 : 0)) });
  const { onMove, onPlace } = cursor({ rows: 1, columns: points.length, at: [0, Math.max(0, here)], onAt, cellAt: (px) => [0, Math.floor((px - left) / BAR)] });
  const average = means(trace);
  const line = points.map(({ distance }, place) => `${place ? "L" : "M"}${x(place) + BAR / 2} ${base - Math.min(HIGH, level(average.get(distance)))}`).join("");
  const several = trace.output.steps.length > 1;
  const steps = (point) => (point ? String(Math.abs(point.distance)) : "");
  return html`
    <${Facts} facts=${[
      [t("said"), output(trace.output.steps[step], step, t)],
      [t("distance.half"), steps(within(points, 0.5))],
      [t("distance.most"), steps(within(points, 0.9))],
    ]} />
    <${Picture} label=${t("distance.title")} width=${x(points.length) + 6} height=${base + 46} onMove=${onMove} onPlace=${onPlace}
      focus=${here >= 0 && { x: x(here), width: BAR }}
      caption=${here >= 0 && t("distance.told", { read: points[here].name, distance: points[here].distance, norm: points[here].norm.toPrecision(3), share: percent(points[here].norm / most) })}>
      ${Array.from({ length: DECADES + 1 }, (_, decade) => {
        const y = base - HIGH * (1 - decade / DECADES);
        return html`
          <line class="grid" x1=${left} x2=${x(points.length)} y1=${y} y2=${y} />
          <text class="label" x=${left - 6} y=${y} dy="0.35em" text-anchor="end">${decade ? `1/${10 ** decade}` : "1"}</text>`;
      })}
      ${["token", "distance.head"].map((key, row) => html`<text class="label" x=${left - 6} y=${base + 20 + 18 * row} text-anchor="end">${t(key)}</text>`)}
      ${points.map(({ name, distance, norm }, place) => html`
        <rect class="bar-of" x=${x(place) + 3} width=${BAR - 6} y=${base - level(norm)} height=${level(norm)} rx="2" />
        ${place === here && html`<rect class="frame here" x=${x(place) + 1} width=${BAR - 2} y=${top} height=${HIGH} rx="2" />`}
        <text class=${`label ${place === here ? "on" : ""}`} x=${x(place) + BAR / 2} y=${base + 20} text-anchor="middle">${cut(name, LETTERS)}</text>
        <text class="label" x=${x(place) + BAR / 2} y=${base + 38} text-anchor="middle">${distance}</text>`)}
      ${several && html`<path class="mean" d=${line} />`}
    <//>
    ${several && html`<p class="hint">${t("distance.mean")}</p>`}`;
}

export const distance = {
  shows: ({ attribution, encoder, sources }) => Boolean(encoder?.length && attribution?.some(({ tokens, norms }) => tokens.length > 1 && norms.length) && !sources[0].picture),
  Body,
  table: (trace, { t, at }) => ({
    head: [t("token"), t("distance.head"), t("distance.norm")],
    rows: near(trace, stepOf(trace, at)).map(({ name, distance: steps, norm }) => [name, steps, norm.toFixed(6)]),
  }),
  data: ({ attribution }) => attribution.map(({ source, tokens, norms }) => ({ source, tokens, norms })),
};
