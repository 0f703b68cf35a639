// The curves of a training over its updates.

import { html, useEffect, useMemo, useRef, useState } from "../vendor/htm-preact.js";
import { usePage } from "../picture.js";

const COLORS = {
  light: ["#2166ac", "#b35806", "#1b7837", "#762a83", "#b2182b", "#555555"],
  dark: ["#7db8f0", "#f0a35e", "#7fc98f", "#c9a0dc", "#f2837b", "#bbbbbb"],
};
const HEIGHT = 190;
const DOTS = 60; // points of a line that are few enough to have a dot each

const SHARES = ["exact_match", "accuracy", "macro_f1", "span_f1"];
const RATES = ["token_error_rate_teacher", "token_error_rate", "exposure_gap"];
const CURVES = {
  loss: { live: { loss: "train_loss" }, names: ["train_loss", "loss"] },
  exposure: { names: RATES, zero: true },
  shares: { names: SHARES, zero: true },
  corpus: { names: ["bleu", "chrf", "ter"], zero: true },
  errors: { names: ["mse", "mae"], zero: true },
  rate: { live: { learning_rate: "learning_rate" }, names: ["learning_rate"], zero: true },
  gradient: { live: { gradient: "gradient" }, names: ["gradient"], logarithmic: true },
};

/** A number in few digits. */
export const figure = (value) => {
  if (value == null) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size < 0.0001 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
};

/** The lines of a curve, {name, points}: what came live, and the validations before and between. */
function linesOf({ live = {}, names, logarithmic }, { progress, history }) {
  const drawn = (value) => value != null && (!logarithmic || value > 0);
  const lines = names.map((name) => {
    const [field] = Object.entries(live).find(([, line]) => line === name) ?? [];
    const first = field && progress.length ? progress[0].step : Infinity;
    const points = history.filter(({ step }) => step < first).map((entry) => [entry.step, entry[name]]);
    if (field) points.push(...progress.map((point) => [point.step, point[field]]));
    return { name, points: points.filter(([, value]) => drawn(value)) };
  });
  return lines.filter(({ points }) => points.length > 0);
}

/** Lines as uPlot takes them: all updates in order, and each line's values at these. */
function joined(lines) {
  const steps = [...new Set(lines.flatMap(({ points }) => points.map(([step]) => step)))].sort((left, right) => left - right);
  const places = new Map(steps.map((step, place) => [step, place]));
  return [
    steps,
    ...lines.map(({ points }) => {
      const values = Array(steps.length).fill(null);
      points.forEach(([step, value]) => (values[places.get(step)] = value));
      return values;
    }),
  ];
}

/** The last place at or before `place` where there is a value. */
function valueAt(values, place) {
  for (let here = place ?? values.length - 1; here >= 0; here -= 1) if (values[here] != null) return values[here];
  return null;
}

/** The update of the validation whose weights are kept. */
export const keptStep = (history) => history.findLast(({ kept }) => kept)?.step;

/** A dotted line at the kept update. */
const marking = (kept, color) => (chart) => {
  if (kept.current == null) return;
  const x = chart.valToPos(kept.current, "x", true);
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.strokeStyle = color;
  ctx.setLineDash([3, 4]);
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.restore();
};

function Curve({ name, curve, lines, last, kept }) {
  const { t, theme } = usePage();
  const [room, chart, keptNow] = [useRef(), useRef(), useRef()];
  const [at, setAt] = useState();
  const data = useMemo(() => joined(lines), [lines]);
  const shown = lines.map((line) => line.name).join(" ");
  keptNow.current = kept;

  useEffect(() => {
    const style = getComputedStyle(room.current);
    const [ink, faint] = [style.color, style.getPropertyValue("border-top-color")];
    const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint, width: 1 }, font: "12px system-ui" };
    const zero = (_, low, high) => [Math.min(0, low ?? 0), (high || 1) * 1.05];
    const size = () => ({ width: room.current.clientWidth, height: HEIGHT });
    chart.current = new uPlot(
      {
        ...size(), legend: { show: false },
        scales: {
          x: { time: false, range: (_, low, high) => [low ?? 0, Math.max(high ?? 1, (low ?? 0) + 1)] },
          y: { ...(curve.zero && { range: zero }), ...(curve.logarithmic && { distr: 3 }) },
        },
        axes: [{ ...axis, size: 32, incrs: [1, 2, 5].flatMap((digit) => [1, 10, 100, 1e3, 1e4, 1e5, 1e6].map((power) => digit * power)).sort((a, b) => a - b) },
          { ...axis, size: 62, values: (_, ticks) => ticks.map((tick) => (tick == null ? "" : figure(tick))) }],
        cursor: { sync: { key: "updates" }, drag: { x: false, y: false }, y: false },
        series: [{}, ...lines.map((_, place) => ({
          stroke: COLORS[theme][place], width: place === 0 && curve.live ? 1.5 : 2, spanGaps: true,
          points: { show: (plot, line) => plot.data[line].reduce((count, value) => count + (value != null), 0) < DOTS, size: 5 },
        }))],
        hooks: { setCursor: [({ cursor }) => setAt(cursor.idx ?? undefined)], draw: [marking(keptNow, ink)] },
      },
      data,
      room.current,
    );
    const fit = new ResizeObserver(() => chart.current.setSize(size()));
    fit.observe(room.current);
    return () => (fit.disconnect(), chart.current.destroy());
  }, [shown, theme]);
  useEffect(() => chart.current.setData(data), [data, kept]);

  const onKeyDown = (event) => {
    const across = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (across === undefined) return;
    event.preventDefault();
    const most = data[0].length - 1;
    const place = Math.max(0, Math.min(most, (at ?? most) + across));
    chart.current.setCursor({ left: chart.current.valToPos(data[0][place], "x"), top: 10 });
  };
  const title = t(`curve.${name}.title`);
  const step = at === undefined ? last : data[0][at];
  return html`
    <section class="card curve" aria-label=${title} data-curve=${name}>
      <header><h2>${title}</h2><span class="hint">${t("fact.update")} ${step}</span></header>
      <div class="chart" ref=${room} tabindex="0" role="application" aria-label=${`${title}. ${t("keys")}`} onKeyDown=${onKeyDown}
        onBlur=${() => chart.current.setCursor({ left: -10, top: -10 })}></div>
      <ul class="legend" aria-live=${at === undefined ? "off" : "polite"}>
        ${lines.map((line, place) => html`
          <li key=${line.name}><svg width="18" height="8" aria-hidden="true"><line x1="0" x2="18" y1="4" y2="4" stroke=${COLORS[theme][place]} stroke-width="2.5" /></svg>
            ${" "}${t(`figure.${line.name}`)} <b>${figure(valueAt(data[place + 1], at))}</b></li>`)}
      </ul>
      <p class="about">${t(`curve.${name}.about`)}</p>
    </section>`;
}

/** All curves that have a point. */
export function Curves({ seen }) {
  const last = Math.max(0, seen.progress.at(-1)?.step ?? 0, seen.history.at(-1)?.step ?? 0);
  const kept = keptStep(seen.history);
  const drawn = useMemo(
    () => Object.entries(CURVES).map(([name, curve]) => ({ name, curve, lines: linesOf(curve, seen) })).filter(({ lines }) => lines.length > 0),
    [seen.progress, seen.history],
  );
  return drawn.map((each) => html`<${Curve} key=${each.name} ...${each} last=${last} kept=${kept} />`);
}

/** The figures of validations, as columns of a table. */
export const COLUMNS = ["train_loss", "loss", ...RATES, ...SHARES, "bleu", "chrf", "ter", "mse", "mae", "learning_rate", "gradient"];
