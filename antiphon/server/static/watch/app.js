// The page of a training: how far it is, its curves, and what the model predicts for some validation rows.

import { html, render, useEffect, useMemo, useState } from "../vendor/htm-preact.js";
import { Appearance, languageOf, useTheme } from "../appearance.js";
import { Facts, Page, Table } from "../picture.js";
import { useAddress } from "../state.js";
import { COLUMNS, Curves, figure, keptStep } from "./curves.js";
import { useFeed } from "./feed.js";
import { Rows } from "./rows.js";
import { words } from "./words.js";

const COPIED = 2000; // ms that the button says so

/** The last update that is known, and the number of all. */
function updates({ facts, progress, history }) {
  const { step = 0, total = facts?.total ?? 0 } = progress.at(-1) ?? {};
  return { step: Math.max(step, facts?.first ?? 0, history.at(-1)?.step ?? 0), total };
}

/** What the training is doing. */
function stateOf({ facts, ended, lost }) {
  if (ended) return ended.reason;
  if (lost) return "lost";
  return facts ? "running" : "waiting";
}

/** Minutes that the remaining updates take, at the rate so far. */
function minutesLeft({ facts, progress }, { step, total }) {
  const { seconds, step: at } = progress.at(-1) ?? {};
  return facts && at > facts.first ? (seconds * (total - step)) / (at - facts.first) / 60 : undefined;
}

function Command({ command, t }) {
  const [copied, setCopied] = useState(false);
  const copy = () => navigator.clipboard.writeText(command).then(() => (setCopied(true), setTimeout(() => setCopied(false), COPIED)), () => {});
  return html`
    <div class="command"><code tabindex="0">${command}</code>
      <button type="button" class="quiet" onClick=${copy}>${copied ? t("copied") : t("copy")}</button></div>`;
}

function Status({ seen, t }) {
  const state = stateOf(seen);
  const { step, total } = updates(seen);
  const { facts, history, ended } = seen;
  const entry = history.at(-1);
  const left = ended ? undefined : minutesLeft(seen, { step, total });
  const kept = keptStep(history);
  useEffect(() => {
    document.title = ended || !total ? `${t(`state.${state}`)} · Antiphon` : `${Math.floor((100 * step) / total)}% · Antiphon`;
  });
  return html`
    <section class="card status" data-state=${state} aria-label=${t("status")}>
      <p class="state" role="status">${t(`state.${state}`)}</p>
      ${total > 0 && !ended && html`<progress value=${step} max=${total} aria-label=${t("fact.done")}></progress>`}
      <${Facts} facts=${[
        total > 0 && [t("fact.update"), ended ? step.toLocaleString("en") : t("fact.of", { step: step.toLocaleString("en"), total: total.toLocaleString("en") })],
        entry && [t("fact.epoch"), entry.epoch.toFixed(1)],
        entry && [t("fact.minutes"), entry.minutes.toFixed(1)],
        left !== undefined && [t("fact.left"), left.toFixed(1)],
        entry && [t("fact.speed"), Math.round(entry.tokens_per_second).toLocaleString("en")],
        kept !== undefined && [t("fact.kept"), kept.toLocaleString("en")],
        facts && [t("fact.folder"), facts.folder],
      ]} />
      ${ended?.reason === "done" && html`
        <p>${t(ended.command ? "next.serve" : "next.save")}</p>
        ${ended.command && html`<${Command} command=${ended.command} t=${t} />`}`}
    </section>`;
}

function Validations({ history, t }) {
  const names = COLUMNS.filter((name) => history.some((entry) => entry[name] != null));
  const rows = () => history.map((entry) => [entry.step, ...names.map((name) => figure(entry[name])), entry.kept ? "✓" : ""]).reverse();
  const [open, setOpen] = useState(false);
  return html`
    <section class="card" aria-label=${t("validations")}>
      <details onToggle=${(event) => setOpen(event.currentTarget.open)}>
        <summary>${t("validations")}</summary>
        ${open && html`<${Table} head=${[t("fact.update"), ...names.map((name) => t(`figure.${name}`)), t("kept")]} rows=${rows()} label=${t("table")} />`}
      </details>
    </section>`;
}

function App() {
  const [state, change] = useAddress();
  const seen = useFeed();
  const language = languageOf(state);
  const t = useMemo(() => words(language), [language]);
  const theme = useTheme(state);
  document.documentElement.lang = language;
  return html`
    <header class="head">
      <div class="brand"><h1>Antiphon</h1><p>${t("about")}</p></div>
      <div class="settings"><${Appearance} state=${state} change=${change} t=${t} language=${language} /></div>
    </header>
    <${Page.Provider} value=${{ state, change, t, theme }}>
      <main class="training">
        <${Status} seen=${seen} t=${t} />
        <div class="curves"><${Curves} seen=${seen} /></div>
        ${seen.facts && html`<${Rows} looks=${seen.looks} />`}
        ${seen.history.length > 0 && html`<${Validations} history=${seen.history} t=${t} />`}
      </main>
    <//>`;
}

render(html`<${App} />`, document.body);
