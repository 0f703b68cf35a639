// The tree of all prefixes that the search looked at.

import { html, useMemo } from "../vendor/htm-preact.js";
import { stratify, tree } from "../vendor/d3-hierarchy.js";
import { cut, nats, spelled, wide, widest } from "../drawing.js";
import { Picture, usePage } from "../picture.js";

const LEAVES = 120; // with more, what was pruned is left out until it is chosen
const CLOSE = 1e-4; // nats by which a rank score may differ, since it is rounded
const [ACROSS, DOWN, SIZE] = [92, 19, 12]; // pixels: least width of a level, height of a node, of a letter

const text = (node, t) => `${cut(spelled(node.data.token), 12)}  ${outcome(node, t)}`.trim();

function laid(nodes, t) {
  const root = stratify().id((node) => node.id).parentId((node) => node.parent)(nodes);
  root.sort((left, right) => right.data.log_prob - left.data.log_prob);
  const across = Math.max(ACROSS, 34 + widest(root.descendants().filter(({ children }) => children).map((node) => text(node, t)), SIZE));
  tree().nodeSize([DOWN, across]).separation(() => 1)(root);
  const best = new Set(root.find((node) => node.data.rank === 0)?.ancestors());
  return { root, best, across, top: Math.min(...root.descendants().map((node) => node.x)) };
}

const few = ({ nodes }) => {
  const parents = new Set(nodes.map((node) => node.parent));
  return nodes.filter((node) => !parents.has(node.id)).length <= LEAVES;
};

function outcome({ data }, t) {
  if (data.parent === null) return "";
  if (data.status !== "finished") return "";
  if (data.rank === null || data.rank === undefined) return t("beam.dropped");
  const ranked = Math.abs(data.rank_score - data.log_prob) < CLOSE ? "" : ` (${data.rank_score.toFixed(2)})`;
  return `${data.rank + 1}.  ${data.log_prob.toFixed(2)}${ranked}`;
}

/** How a finished prefix is ranked, if by more than its log p. */
function ranking({ data, depth }, { length_penalty: penalty }, t) {
  if (data.rank_score == null || Math.abs(data.rank_score - data.log_prob) < CLOSE) return "";
  const plain = Math.abs(data.rank_score - data.log_prob / depth ** penalty) < CLOSE;
  const values = { rank: data.rank + 1, score: nats(data.rank_score), sum: nats(data.log_prob), length: depth, penalty };
  return ` ${plain ? t("beam.ranked", values) : t("beam.ruled", values)}`;
}

/** Whether the ranks are not those of log p. */
const reordered = ({ nodes }) => {
  const finished = nodes.filter(({ rank }) => rank != null).sort((left, right) => left.rank - right.rank);
  return finished.some(({ log_prob }, place) => place > 0 && log_prob > finished[place - 1].log_prob);
};

function Body({ trace }) {
  const { t, state, change } = usePage();
  const all = state.pruned ? state.pruned === "1" : few(trace.beam);
  const { root, best, across, top } = useMemo(
    () => laid(all ? trace.beam.nodes : trace.beam.nodes.filter(({ status }) => status !== "pruned"), t),
    [trace, all, t],
  );
  const nodes = root.descendants();
  const here = nodes.find((node) => node.id === state.node) ?? root;
  const prefix = (node) => node.ancestors().reverse().slice(1).map(({ data }) => spelled(data.token)).join(" ");
  const place = (node) => [12 + node.y, 16 + node.x - top];
  const go = (node) => node && change({ node: node.id });
  const onMove = (down, across) => {
    if (across < 0) return go(here.parent);
    if (across > 0) return go(here.children?.[0]);
    const level = nodes.filter(({ depth }) => depth === here.depth).sort((left, right) => left.x - right.x);
    return go(level[level.indexOf(here) + down]);
  };
  const onPlace = (x, y) => go(nodes.find((node) => Math.abs(place(node)[1] - y) < DOWN / 2 && Math.abs(place(node)[0] + 26 - x) < across / 2));
  const ends = Math.max(...nodes.map((node) => place(node)[0] + wide(text(node, t), SIZE) + 30));
  const lowest = Math.max(...nodes.map((node) => place(node)[1]));
  return html`
    <label class="choice"><input type="checkbox" checked=${all} onChange=${() => change({ pruned: all ? "0" : "1" })} /> ${t("beam.all")}</label>
    ${trace.beam.length_penalty > 0 && html`<p class="hint">${t("beam.note", { penalty: trace.beam.length_penalty })}${reordered(trace.beam) && ` ${t("beam.reordered")}`}</p>`}
    <${Picture} label=${t("beam.title")} width=${ends} height=${lowest + 16} onMove=${onMove} onPlace=${onPlace}
      focus=${{ x: place(here)[0], width: across }}
      caption=${here !== root && t("beam.told", { prefix: prefix(here), status: t(`beam.${here.data.status}`), score: nats(here.data.log_prob) }) + ranking(here, trace.beam, t)}>
      ${nodes.slice(1).map((node) => {
        const [[x, y], [px, py]] = [place(node), place(node.parent)];
        const start = node.parent === root ? px + 5 : px + (wide(text(node.parent, t), SIZE) + 8);
        return html`<path class=${`branch ${best.has(node) ? "best" : ""}`} d=${`M${start} ${py}C${(start + x) / 2} ${py} ${(start + x) / 2} ${y} ${x - 5} ${y}`} />`;
      })}
      <circle class="root" cx=${place(root)[0]} cy=${place(root)[1]} r="4" />
      ${nodes.slice(1).map((node) => {
        const [x, y] = place(node);
        return html`
          ${node === here && html`<rect class="frame here" x=${x - 4} y=${y - DOWN / 2 + 1} width=${wide(text(node, t), SIZE) + 10} height=${DOWN - 2} rx="3" />`}
          <text class=${`node ${node.data.status} ${best.has(node) ? "best" : ""}`} x=${x} y=${y} dy="0.35em">${text(node, t)}</text>`;
      })}
    <//>`;
}

export const beam = {
  wide: true,
  shows: ({ beam }) => Boolean(beam?.nodes.length > 1),
  Body,
  table: ({ beam }, { t }) => ({
    head: ["id", t("beam.parent"), t("token"), t("log_prob"), t("beam.status"), t("rank"), t("beam.rank_score")],
    rows: beam.nodes.map((node) => [
      node.id, node.parent ?? "", node.parent === null ? "" : spelled(node.token), nats(node.log_prob), t(`beam.${node.status}`),
      node.rank == null ? "" : node.rank + 1, nats(node.rank_score),
    ]),
  }),
  data: ({ beam }) => beam,
};
