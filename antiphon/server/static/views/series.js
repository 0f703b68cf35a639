// The numbers of a series behind the past they go on from, with bands between their quantiles.

import { html } from "../vendor/htm-preact.js";
import { gridTable, Picture, cursor, usePage } from "../picture.js";

const [WIDTH, HIGH, LEFT, BELOW] = [640, 150, 56, 18];
const MOST = 6; // numbers of a step that are drawn, each by itself
const short = (value) => String(Number(value.toPrecision(4)));
const points = (pairs) => pairs.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");

/** The levels of the bands of a step, the widest first. */
function bands({ quantiles }) {
  const levels = Object.keys(quantiles ?? {}).sort((left, right) => left - right);
  return levels.slice(0, levels.length >> 1).map((low, place) => [low, levels[levels.length - 1 - place]]);
}

/** One number over all steps, below the numbers drawn before it. */
function Lines({ trace, number, down, at }) {
  const { steps } = trace.output;
  const past = trace.past ?? [];
  const reference = trace.reference?.steps ?? [];
  const values = [
    ...past.map((row) => row[number]),
    ...[...steps, ...reference].map((step) => step.values[number]),
    ...steps.flatMap(({ quantiles }) => Object.values(quantiles ?? {}).map((row) => row[number])),
  ];
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const count = past.length + Math.max(steps.length, reference.length);
  const x = (place) => LEFT + (WIDTH * (place + 0.5)) / count;
  const y = (value) => down + 8 + (HIGH - BELOW - 8) * (1 - (value - least) / (most - least || 1));
  const line = (rows, from, name) => rows.length > 0 && html`<polyline class=${name} points=${points(rows.map((value, place) => [x(from + place), y(value)]))} />`;
  const from = past.length;
  return html`
    <text class="small" x=${LEFT - 6} y=${y(most) + 4} text-anchor="end">${short(most)}</text>
    <text class="small" x=${LEFT - 6} y=${y(least) + 4} text-anchor="end">${short(least)}</text>
    ${bands(steps[0]).map(([low, high]) => {
      const edge = (level) => steps.map(({ quantiles }, place) => [x(from + place), y(quantiles[level][number])]);
      return html`<polygon class="band" points=${points([...edge(low), ...edge(high).toReversed()])} />`;
    })}
    ${line(past.map((row) => row[number]), 0, "series past")}
    ${line(reference.map((step) => step.values[number]), from, "series wanted")}
    ${line(steps.map((step) => step.values[number]), from, "series said")}
    ${at !== undefined && html`<circle class="said" cx=${x(from + at)} cy=${y(steps[at].values[number])} r="4" />`}`;
}

export const series = {
  shows: ({ context, output }) => Boolean(context && output.steps[0]?.values),
  Body: ({ trace }) => {
    const { t, at, select, point } = usePage();
    const { steps } = trace.output;
    const numbers = Math.min(MOST, steps[0].values.length);
    const before = trace.past?.length ?? 0;
    const count = before + Math.max(steps.length, trace.reference?.steps.length ?? 0);
    const here = at.step === undefined ? undefined : Math.min(at.step, steps.length - 1);
    const cellAt = (across) => [0, Math.max(0, Math.min(steps.length - 1, Math.floor(((across - LEFT) / WIDTH) * count) - before))];
    const { onMove, onPlace } = cursor({
      rows: 1, columns: steps.length, at: [0, here ?? 0], onAt: (_, step) => select({ step }), onHover: (cell) => point(cell && { step: cell[1] }), cellAt,
    });
    const caption = here !== undefined && t("series.told", { step: here + 1, values: steps[here].values.map(short).join(" ") });
    return html`
      <${Picture} label=${t("series.title")} width=${LEFT + WIDTH + 4} height=${numbers * HIGH} onMove=${onMove} onPlace=${onPlace} caption=${caption}>
        ${steps[0].values.slice(0, numbers).map((_, number) => html`<${Lines} trace=${trace} number=${number} down=${number * HIGH} at=${here} />`)}
      <//>`;
  },
  table: ({ output: { steps } }, { t }) => {
    const levels = Object.keys(steps[0].quantiles ?? {});
    const names = steps[0].values.flatMap((_, number) => [number + 1, ...levels.map((level) => `${number + 1}: ${level}`)].map(String));
    const rows = steps.map(({ values, quantiles }) => values.flatMap((value, number) => [value, ...levels.map((level) => quantiles[level][number])]));
    return gridTable(t("step"), rows, steps.map((_, step) => String(step + 1)), names, short);
  },
  data: ({ past, output, reference }) => ({ past, output: output.steps, reference: reference?.steps }),
};
