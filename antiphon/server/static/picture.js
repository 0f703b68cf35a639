// What views are made of: a card with a picture, what is selected in words, a table, and ways to save them.

import { createContext, html, useContext, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/htm-preact.js";
import { cut, heat, largest, rightward, wide, widest } from "./drawing.js";
import { Scrolls, useEdges } from "./scrolling.js";
import { saveCanvas, saveCsv, saveJson, savePng, saveSvg } from "./saving.js";

/** What every part of the page has: `state`, `change`, `t` (words), `theme`, `card` (the model), `point`, `at`. */
export const Page = createContext();
export const usePage = () => useContext(Page);

/** A view as a card. */
export function Frame({ name, view, trace }) {
  const page = usePage();
  const { t, state } = page;
  const body = useRef();
  const [open, setOpen] = useState(false);
  const title = t(`${name}.title`);
  const table = () => view.table(trace, page);
  const drawn = () => body.current.querySelector(".picture svg");
  const painted = () => body.current.querySelector("canvas");
  const file = `${state.model ?? "model"}-${name}`;
  return html`
    <section class=${`card ${view.wide ? "wide" : ""}`} id=${`view-${name}`} aria-label=${title} ref=${body}>
      <header>
        <h2>${title}</h2>
        <div class="tools" role="group" aria-label=${t("save")}>
          ${!view.painted && html`<button type="button" onClick=${() => saveSvg(drawn(), file)}>SVG</button>`}
          <button type="button" onClick=${() => (drawn() ? savePng(drawn(), file) : saveCanvas(painted(), file))}>PNG</button>
          <button type="button" onClick=${() => saveCsv(table(), file)}>CSV</button>
          <button type="button" onClick=${() => saveJson(view.data(trace), file)}>JSON</button>
        </div>
      </header>
      <p class="about">${t(`${name}.about`)}</p>
      <${view.Body} trace=${trace} />
      <details onToggle=${(event) => setOpen(event.currentTarget.open)}>
        <summary>${t("table")}</summary>
        ${open && html`<${Table} ...${table()} label=${`${title}: ${t("table")}`} />`}
      </details>
    </section>`;
}

/** Rows of texts and numbers under their names. */
export function Table({ head, rows, label }) {
  return html`
    <${Scrolls} class="scroll" tabindex="0" role="region" aria-label=${label}>
      <table>
        <thead><tr>${head.map((cell) => html`<th scope="col" dir="auto">${cell}</th>`)}</tr></thead>
        <tbody>${rows.map((row) => html`<tr>${row.map((cell) => html`<td dir="auto">${cell}</td>`)}</tr>`)}</tbody>
      </table>
    <//>`;
}

const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/**
 * An SVG that keys move about in: `onMove(down, across)` for arrows (Infinity: Home and End), `onEnter` for Enter.
 * `caption` describes what is selected; `focus` is its place in the picture, which is scrolled into sight.
 */
export function Picture({ label, width, height, caption, focus, onMove, onEnter, onPlace, onHover, children }) {
  const { t } = usePage();
  const frame = useRef();
  useEdges(frame);
  useLayoutEffect(() => {
    if (!focus || !frame.current.matches(":focus")) return;
    const { scrollLeft, clientWidth } = frame.current;
    if (focus.x < scrollLeft || focus.x + focus.width > scrollLeft + clientWidth)
      frame.current.scrollLeft = focus.x - clientWidth / 2;
  });
  const onKeyDown = (event) => {
    const step = ARROWS[event.key] ?? { Home: [0, -Infinity], End: [0, Infinity] }[event.key];
    if (step && onMove) onMove(...step);
    else if (event.key === "Enter" && onEnter) onEnter();
    else return;
    event.preventDefault();
  };
  const placed = (call) => call && ((event) => {
    const box = event.currentTarget.getBoundingClientRect();
    call(event.clientX - box.left, event.clientY - box.top);
  });
  return html`
    <div class="picture" ref=${frame} tabindex="0" role=${onMove ? "application" : "img"}
      aria-label=${onMove ? `${label}. ${t("keys")}` : label} onKeyDown=${onKeyDown}>
      <svg width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} aria-hidden="true" focusable="false"
        onClick=${placed(onPlace)} onPointerMove=${placed(onHover)} onPointerLeave=${onHover && (() => onHover())}>
        ${children}
      </svg>
    </div>
    ${onMove && html`<p class=${caption ? "told" : "hint"} aria-live="polite" dir="auto">${caption || t("select")}</p>`}`;
}

const bounded = (value, count) => Math.max(0, Math.min(count - 1, value));

/** What moves a selected cell [row, column] within a grid: arrows, and a press at a place. */
export function cursor({ rows, columns, at, onAt, mirrored, cellAt }) {
  const to = (row, column) => onAt(bounded(row, rows), bounded(column, columns));
  const inside = (x, y) => {
    const [row, column] = cellAt(x, y);
    return row >= 0 && row < rows && column >= 0 && column < columns ? [row, column] : undefined;
  };
  return {
    onMove: (down, across) => to((at?.[0] ?? 0) + down, (at?.[1] ?? 0) + (mirrored ? -across : across)),
    onPlace: (x, y) => inside(x, y) && to(...inside(x, y)),
    inside,
  };
}

const LABEL = 14; // characters of a label that are shown
const BOLDER = 1.12; // how much wider a label is when it is chosen
const WRITTEN = 900; // cells of a grid that are few enough to hold their values as text

/**
 * A grid of numbers, from 0 to `most` or `signed` around 0, with a name on each row and column.
 * `frames` are cells to mark, [row, column, class]; `between` are columns that a line stands before.
 */
export function Heat({
  label, values, rows, columns, signed = false, most = 1, at, onAt, onHover, caption, frames = [], between = [],
  cell = [30, 26], write = true, tall,
}) {
  const { theme } = usePage();
  const range = signed ? largest(values) : most;
  const picture = useMemo(() => heat(values, range, theme), [values, range, theme]);
  const [names, heads] = [rows, columns].map((tokens) => tokens.map((token) => cut(token, LABEL)));
  const mirrored = rightward(columns);
  const turned = widest(heads) > cell[0] - 4;
  const left = names.some(Boolean) ? widest(names) * BOLDER + 12 : 4;
  const top = turned ? widest(heads) * 0.87 + 14 : 22;
  const [width, height] = [columns.length * cell[0], tall ?? rows.length * cell[1]];
  const high = height / rows.length;
  const x = (column) => left + cell[0] * (mirrored ? columns.length - 1 - column : column);
  const y = (row) => top + high * row;
  const shown = write && rows.length * columns.length <= WRITTEN && cell[0] >= 24 && high >= 16;
  const apart = Math.ceil(14 / cell[0]);
  const { onMove, onPlace, inside } = cursor({
    rows: rows.length, columns: columns.length, at, onAt, mirrored,
    cellAt: (px, py) => {
      const column = Math.floor((px - left) / cell[0]);
      return [Math.floor((py - top) / high), mirrored ? columns.length - 1 - column : column];
    },
  });
  const room = turned ? widest(heads.slice(-1)) * 0.5 : 0; // the last names lean over the edge
  return html`
    <${Picture} label=${label} width=${left + width + room + 4} height=${top + height + 4} caption=${caption}
      focus=${at && { x: x(at[1]), width: cell[0] }} onMove=${onMove} onPlace=${onPlace}
      onHover=${onHover && ((px, py) => onHover(px === undefined ? undefined : inside(px, py)))}>
      <rect class="ground" x=${left} y=${top} width=${width} height=${height} />
      <image href=${picture} x=${left} y=${top} width=${width} height=${height} preserveAspectRatio="none"
        style=${{ imageRendering: "pixelated" }}
        transform=${mirrored ? `translate(${2 * left + width} 0) scale(-1 1)` : undefined} />
      ${heads.map((head, column) => column % apart === 0 && html`
        <text class=${`label ${at?.[1] === column ? "on" : ""}`} text-anchor=${turned ? "start" : "middle"}
          transform=${`translate(${x(column) + cell[0] / 2 + (turned ? 4 : 0)} ${top - 7}) rotate(${turned ? -60 : 0})`}>${head}</text>`)}
      ${names.map((name, row) => high >= 9 && html`
        <text class=${`label ${at?.[0] === row ? "on" : ""}`} x=${left - 7} y=${y(row) + high / 2} dy="0.35em" text-anchor="end">${name}</text>`)}
      ${shown && values.map((row, r) => row.map((value, c) => written(value, range, signed) && html`
        <text class=${`number ${Math.abs(value) > 0.6 * range ? "strong" : ""}`} x=${x(c) + cell[0] / 2} y=${y(r) + high / 2}
          dy="0.35em" text-anchor="middle">${written(value, range, signed)}</text>`))}
      ${between.map((column) => html`<line class="between" x1=${x(column)} x2=${x(column)} y1=${top} y2=${top + height} />`)}
      ${frames.map(([row, column, kind]) => html`
        <rect class=${`frame ${kind}`} x=${x(column) + 2} y=${y(row) + 2} width=${cell[0] - 4} height=${high - 4} rx="2" />`)}
      ${at && html`
        <rect class="cross" x=${left} y=${y(at[0])} width=${width} height=${high} />
        <rect class="cross" x=${x(at[1])} y=${top} width=${cell[0]} height=${height} />
        <rect class="frame here" x=${x(at[1])} y=${y(at[0])} width=${cell[0]} height=${high} />`}
    </${Picture}>`;
}

function written(value, range, signed) {
  const share = Math.abs(value) / range;
  if (share < (signed ? 0.15 : 0.05) || Math.abs(value) < 0.005) return "";
  return signed ? value.toFixed(2) : String(Math.round(100 * value));
}

/** The table behind a grid. */
export const gridTable = (corner, values, rows, columns, format = (value) => value.toFixed(4)) => ({
  head: [corner, ...columns],
  rows: values.map((row, place) => [rows[place], ...row.map(format)]),
});

/** A chart of lines over steps on one cursor with all others: `series` are {label, values, dash, color}. */
export function Chart({ label, steps, series, at, onAt }) {
  const { theme } = usePage();
  const room = useRef();
  const chart = useRef();
  useEffect(() => {
    const style = getComputedStyle(room.current);
    const ink = style.color;
    const faint = style.getPropertyValue("border-top-color");
    const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint, width: 1 }, font: "12px system-ui" };
    chart.current = new uPlot(
      {
        width: room.current.clientWidth, height: 190, legend: { show: false },
        scales: { x: { time: false, range: [0.5, Math.max(1.5, steps + 0.5)] } },
        axes: [{ ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] }, { ...axis, size: 52 }],
        cursor: { sync: { key: "steps" }, drag: { x: false, y: false }, y: false },
        series: [{}, ...series.map(({ label: name, color, dash }) => ({ label: name, stroke: color, dash, width: 2, points: { show: steps < 40, size: 5 } }))],
      },
      [Array.from({ length: steps }, (_, step) => step + 1), ...series.map(({ values }) => values)],
      room.current,
    );
    const fit = new ResizeObserver(() => chart.current.setSize({ width: room.current.clientWidth, height: 190 }));
    fit.observe(room.current);
    return () => (fit.disconnect(), chart.current.destroy());
  }, [series, steps, theme]);
  useEffect(() => {
    if (at !== undefined) chart.current.setCursor({ left: chart.current.valToPos(at + 1, "x"), top: 10 });
  }, [at, series, steps, theme]);
  const onKeyDown = (event) => {
    const across = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (across === undefined) return;
    event.preventDefault();
    onAt(bounded((at ?? 0) + across, steps));
  };
  const { t } = usePage();
  return html`
    <div class="chart" ref=${room} tabindex="0" role="application" aria-label=${`${label}. ${t("keys")}`} onKeyDown=${onKeyDown}
      onClick=${() => chart.current.cursor.idx != null && onAt(chart.current.cursor.idx)}></div>`;
}

/** What went wrong with a request, in the page's language; the server's details, which are in English, follow. */
export function Trouble({ t, problem: { code, detail, title, message } }) {
  const known = t.has(`problem.${code}`);
  return html`<p class="problem" role="alert">${known ? t(`problem.${code}`) : (title ?? message)}${detail && html` <span lang="en">(${detail})</span>`}</p>`;
}

/** Names and values in a line. */
export const Facts = ({ facts }) => html`
  <dl class="facts">${facts.filter(Boolean).map(([name, value, kind]) => html`<div><dt dir="auto">${name}</dt><dd class=${kind}>${value}</dd></div>`)}</dl>`;

/** A field with a few options. */
export function Choice({ label, options, value, onChoose }) {
  return html`
    <label class="choice"><span>${label}</span>
      <select value=${value} onChange=${(event) => onChoose(event.currentTarget.value)}>
        ${options.map(([key, name]) => html`<option value=${key} selected=${key === value}>${name}</option>`)}
      </select>
    </label>`;
}
