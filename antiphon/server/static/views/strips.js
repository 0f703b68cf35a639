// Sensor strips: the signal that was read, the predictions and the references, on the same cursor.

import { html, useMemo } from "../vendor/htm-preact.js";
import { percent, transposed } from "../drawing.js";
import { Chart, Heat, usePage } from "../picture.js";
import { shares } from "./answers.js";
import { series } from "./series.js";

const LINES = 6; // with more numbers per step, a strip is a grid
const COLORS = { light: ["#2166ac", "#b35806", "#1b7837", "#762a83", "#b2182b", "#555"], dark: ["#7db8f0", "#f0a35e", "#7fc98f", "#c9a0dc", "#f2837b", "#bbb"] };

/** The numbers of frames, if that is what the (first) source is. */
const signal = (trace, sourceValues) => (trace.sources[0].kind === "frames" ? sourceValues?.[0] : undefined);

const numbers = (steps) => (steps?.length && steps[0].values ? steps.map(({ values }) => values) : undefined);

/** The probabilities of the labels that were believed most, of answers that are labels. */
function believed(steps) {
  if (!steps?.length || steps[0].log_prob == null || steps.length < 2) return undefined;
  const { labels, values } = shares(steps, LINES);
  return { labels, values: transposed(values) };
}

/** The strips of a trace: {key, names, values, reference}. */
function stripsOf(trace, sourceValues, t) {
  const steps = trace.beliefs ?? trace.output.steps;
  const [values, reference, labels] = [numbers(steps), numbers(trace.reference?.steps), believed(steps)];
  const named = (rows) => rows[0].map((_, place) => t("strips.number", { place: place + 1 }));
  const read = signal(trace, sourceValues);
  return [
    ...(read ? [{ key: "signal", names: named(read), values: read }] : []),
    ...(values ? [{ key: "prediction", names: named(values), values, reference: reference?.length === values.length ? reference : undefined }] : []),
    ...(labels && read ? [{ key: "labels", names: labels.labels, values: labels.values }] : []),
  ];
}

function Strip({ strip: { key, names, values, reference } }) {
  const { t, theme, at, select } = usePage();
  const lines = useMemo(() => transposed(values), [values]);
  const series = useMemo(
    () => lines.slice(0, LINES).flatMap((line, place) => [
      { label: names[place], values: line, color: COLORS[theme][place] },
      ...(reference ? [{ label: names[place], values: reference.map((row) => row[place]), color: COLORS[theme][place], dash: [5, 4] }] : []),
    ]),
    [lines, reference, theme],
  );
  const referenceLines = useMemo(() => reference && transposed(reference), [reference]);
  const step = at.token;
  const onAt = (token) => select({ token, step: token });
  const title = t(`strips.${key}`);
  if (names.length > LINES) {
    const columns = values.map((_, place) => String(place + 1));
    const grid = (cells, label) => html`
      <h3>${label}</h3>
      <${Heat} label=${label} values=${cells} rows=${names} columns=${columns} signed=${cells.flat().some((value) => value < 0)} write=${false}
        most=${Math.max(1e-9, ...cells.flat())} cell=${[Math.max(6, Math.min(24, 700 / columns.length)), 12]} tall=${Math.max(70, Math.min(320, 14 * names.length))}
        caption=${step < columns.length && t("step", { step: step + 1 })} at=${step < columns.length ? [0, step] : undefined} onAt=${(_, column) => onAt(column)} />`;
    return html`${grid(lines, title)}${referenceLines && grid(referenceLines, t("reference"))}`;
  }
  return html`
    <h3>${title}</h3>
    <${Chart} label=${title} steps=${values.length} series=${series} at=${step < values.length ? step : undefined} onAt=${onAt} />
    <ul class="legend" aria-live="polite">
      ${names.map((name, place) => html`
        <li><svg width="18" height="8" aria-hidden="true"><line x1="0" x2="18" y1="4" y2="4" stroke=${COLORS[theme][place]} stroke-width="2.5" /></svg>
          ${name}${values[step] && html` <b>${key === "labels" ? percent(values[step][place]) : values[step][place].toFixed(3)}</b>`}
          ${reference?.[step] && html` <span>(${t("reference")} ${reference[step][place].toFixed(3)})</span>`}</li>`)}
    </ul>`;
}

function Body({ trace }) {
  const { t, at, sourceValues } = usePage();
  const all = useMemo(() => stripsOf(trace, sourceValues, t), [trace, sourceValues, t]);
  return html`
    ${all.map((strip) => html`<${Strip} key=${strip.key} strip=${strip} />`)}
    <p class="told" aria-live="polite">${at.token === undefined ? t("select") : t("step", { step: at.token + 1 })}</p>`;
}

export const strips = {
  wide: true,
  painted: true, // on a canvas, which has no SVG
  shows: (trace, sourceValues) => !series.shows(trace) && Boolean(signal(trace, sourceValues) || numbers(trace.beliefs ?? trace.output.steps)),
  Body,
  table: (trace, { sourceValues, t }) => {
    const columns = stripsOf(trace, sourceValues, t).flatMap(({ key, names, values, reference }) => [
      ...names.map((name, place) => [`${t(`strips.${key}`)} ${name}`, values.map((row) => row[place])]),
      ...(reference ? names.map((name, place) => [`${t("reference")} ${name}`, reference.map((row) => row[place])]) : []),
    ]);
    const steps = Math.max(...columns.map(([, values]) => values.length));
    return {
      head: [t("step.head"), ...columns.map(([name]) => name)],
      rows: Array.from({ length: steps }, (_, step) => [step + 1, ...columns.map(([, values]) => values[step] ?? "")]),
    };
  },
  data: ({ output, reference, beliefs }) => ({ output: output.steps, reference: reference?.steps, beliefs }),
};
