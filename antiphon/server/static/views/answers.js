// The probabilities of labels: for the whole input, for each step, and after each prefix of the input.

import { html, useMemo } from "../vendor/htm-preact.js";
import { cut, percent, spelled, widest } from "../drawing.js";
import { cursor, gridTable, Heat, Picture, usePage } from "../picture.js";

const LABELS = 12; // rows of a picture
const labelled = (steps) => Boolean(steps?.length && steps[0].log_prob != null);

/** Labels by the most that each was ever believed, at most so many, and the probability of each at each step. */
export function shares(steps, most = LABELS) {
  const best = new Map();
  steps.forEach(({ top }) => top.forEach(({ token, log_prob }) => best.set(token, Math.max(best.get(token) ?? 0, Math.exp(log_prob)))));
  const labels = [...best.keys()].sort((left, right) => best.get(right) - best.get(left)).slice(0, most);
  const values = labels.map((label) => steps.map(({ top }) => Math.exp(top.find(({ token }) => token === label)?.log_prob ?? -Infinity)));
  return { labels, values };
}

/** Labels over what was read; a frame for the prediction, and another for the reference. */
function Over({ title, read, steps, references = [] }) {
  const { t, at, select, point, state, change } = usePage();
  const { labels, values } = useMemo(() => shares(steps), [steps]);
  const rows = labels.map(spelled);
  const columns = read.map(spelled);
  const predicted = Math.max(0, labels.indexOf(steps[at.token]?.token)); // the prediction there, unless another is chosen
  const row = Math.min(Number(state.label ?? predicted), rows.length - 1);
  const here = at.token === undefined || at.token >= columns.length ? undefined : [row, at.token];
  const frames = steps.flatMap((step, column) =>
    [[labels.indexOf(step.token), column, "said"], [labels.indexOf(references[column]), column, "wanted"]].filter(([r]) => r >= 0),
  );
  return html`
    <${Heat} label=${title} values=${values} rows=${rows} columns=${columns} frames=${frames} at=${here}
      onAt=${(label, token) => (change({ label }), select({ token, step: token }))} onHover=${(cell) => point(cell && { token: cell[1] })}
      caption=${here && t("answers.told", { label: rows[row], read: columns[here[1]], share: percent(values[row][here[1]]) })} />`;
}

/** The probability of each label of a single answer. */
function Single({ step, reference }) {
  const { t, state, change } = usePage();
  const labels = step.top.slice(0, LABELS);
  const names = labels.map(({ token }) => cut(spelled(token), 30));
  const left = widest(names) + 14;
  const [width, high] = [320, 28];
  const row = Math.min(Number(state.label ?? 0), labels.length - 1);
  const { onMove, onPlace } = cursor({
    rows: labels.length, columns: 1, at: [row, 0], onAt: (label) => change({ label }), cellAt: (_, y) => [Math.floor(y / high), 0],
  });
  return html`
    <${Picture} label=${t("answers.title")} width=${left + width + 4} height=${labels.length * high} onMove=${onMove} onPlace=${onPlace}
      caption=${t("answers.one", { label: names[row], share: percent(Math.exp(labels[row].log_prob)) })}>
      ${labels.map(({ token, log_prob }, place) => html`
        <g transform=${`translate(0 ${place * high})`}>
          <text class=${`label ${token === reference ? "right" : ""} ${place === row ? "on" : ""}`} x=${left - 8} y=${high / 2} dy="0.35em" text-anchor="end">${names[place]}</text>
          <rect class="ground" x=${left} y="3" width=${width} height=${high - 6} rx="3" />
          <rect class="share" x=${left} y="3" width=${width * Math.exp(log_prob)} height=${high - 6} rx="3" />
          <text class="small" x=${left + 6} y=${high / 2} dy="0.35em">${percent(Math.exp(log_prob))}</text>
        </g>`)}
    <//>`;
}

const read = ({ sources }, steps) => sources[0].tokens.slice(0, steps.length);
const overTable = (steps, names, t) => {
  const { labels, values } = shares(steps);
  return gridTable(t("label"), values, labels.map(spelled), names.map(spelled));
};

export const answers = {
  shows: (trace) => !trace.context && !trace.prompt && labelled(trace.output.steps),
  Body: ({ trace }) => {
    const references = trace.reference?.steps.map(({ token }) => token);
    if (trace.structure !== "synchronous") return html`<${Single} step=${trace.output.steps[0]} reference=${references?.[0]} />`;
    const title = usePage().t("answers.title");
    return html`<${Over} title=${title} read=${read(trace, trace.output.steps)} steps=${trace.output.steps} references=${references} />`;
  },
  table: (trace, { t }) => {
    const steps = trace.output.steps;
    return overTable(steps, trace.structure === "synchronous" ? read(trace, steps) : [t("share")], t);
  },
  data: ({ output, reference }) => ({ output: output.steps, reference: reference?.steps }),
};

export const beliefs = {
  shows: ({ beliefs }) => labelled(beliefs),
  Body: ({ trace }) => {
    const references = trace.reference && trace.beliefs.map(() => trace.reference.steps[0].token);
    const title = usePage().t("beliefs.title");
    return html`<${Over} title=${title} read=${read(trace, trace.beliefs)} steps=${trace.beliefs} references=${references} />`;
  },
  table: (trace, { t }) => overTable(trace.beliefs, read(trace, trace.beliefs), t),
  data: (trace) => ({ read: read(trace, trace.beliefs), beliefs: trace.beliefs }),
};
