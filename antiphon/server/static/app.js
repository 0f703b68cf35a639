// The page: the request to a model, its answer, and the views of how the model came to it.

import { html, render, useEffect, useMemo, useRef, useState } from "./vendor/htm-preact.js";
import * as api from "./api.js";
import { Answer, Branches, Tokens } from "./answer.js";
import { Appearance, languageOf, useTheme } from "./appearance.js";
import { Beside, BesideChoice } from "./beside.js";
import { asInput, reading, valuesOf } from "./inputs.js";
import { Choice, Frame, Page, Trouble } from "./picture.js";
import { Question } from "./question.js";
import { answered, follow, FORGOTTEN, optionsOf, requestOf, stepsOf, useAnswer } from "./request.js";
import { parsed, useAddress, whole } from "./state.js";
import { VIEWS } from "./views/index.js";
import { words } from "./words.js";

const OPENED = 3; // views, before any is chosen
const RETRY = 1000; // ms, while models are being loaded

// --- the parts of the page ----------------------------------------------------------------------------

function Head({ cards, card, state, change, t, language }) {
  return html`
    <header class="head">
      <div class="brand"><h1>Antiphon</h1><p>${t("about")}</p></div>
      <div class="settings">
        ${card && html`
          <${Choice} label=${t("model")} value=${card.name} options=${cards.map(({ name, structure }) => [name, `${name} (${structure})`])}
            onChoose=${(model) => change({ ...FORGOTTEN, model, input: null, reference: null, other: null, with: null }, true)} />
          <${BesideChoice} cards=${cards} card=${card} state=${state} change=${change} t=${t} />`}
        <${Appearance} state=${state} change=${change} t=${t} language=${language} />
        ${api.DOCS && html`<a href=${api.DOCS}>${t("docs")}</a>`}
      </div>
    </header>`;
}

function Views({ trace, sourceValues, state, change, t }) {
  const names = Object.keys(VIEWS).filter((name) => VIEWS[name].shows(trace, sourceValues));
  const chosen = state.views === undefined ? names.slice(0, OPENED) : state.views.split(" ");
  const open = names.filter((name) => chosen.includes(name));
  const toggle = (name) => {
    const next = open.includes(name) ? open.filter((other) => other !== name) : [...open, name];
    change({ views: next.join(" ") || "none" });
  };
  return html`
    <nav class="views" aria-label=${t("views")}>
      ${names.map((name) => html`
        <button type="button" aria-pressed=${open.includes(name)} data-view=${name} onClick=${() => toggle(name)}>${t(`${name}.title`)}</button>`)}
    </nav>
    ${open.length === 0 && html`<p class="hint">${t("views.none")}</p>`}
    <div class="cards">${open.map((name) => html`<${Frame} key=${name} name=${name} view=${VIEWS[name]} trace=${trace} />`)}</div>`;
}

function TokenForm({ t, onToken }) {
  const [token, setToken] = useState("");
  return html`
    <form class="card" onSubmit=${(event) => (event.preventDefault(), api.useToken(token), onToken())}>
      <label for="token">${t("token.ask")}</label>
      <div class="go"><input id="token" type="password" value=${token} onInput=${(event) => setToken(event.currentTarget.value)} />
      <button type="submit" class="main">${t("token.go")}</button></div>
    </form>`;
}

// --- the page -----------------------------------------------------------------------------------------

/** The served models; while they are being loaded they are asked for again. */
function useCards() {
  const [served, setServed] = useState({ cards: [] });
  const [attempt, again] = useState(0);
  useEffect(() => {
    api.models().then(
      ({ models }) => setServed({ cards: models }),
      (problem) => (problem.code === "loading" ? setTimeout(() => again(attempt + 1), RETRY) : setServed({ cards: [], problem })),
    );
  }, [attempt]);
  return { ...served, again: () => again(attempt + 1) };
}

function App() {
  const [state, change] = useAddress();
  const { cards, problem, again } = useCards();
  const language = languageOf(state);
  const t = useMemo(() => words(language), [language]);
  const theme = useTheme(state);
  document.documentElement.lang = language;
  const card = cards.find(({ name }) => name === state.model) ?? cards[0];
  const shell = (content) => html`<${Head} cards=${cards} card=${card} state=${state} change=${change} t=${t} language=${language} />
    ${card && state.model && state.model !== card.name && html`<p class="absent problem" role="alert">${t("model.absent", { asked: state.model, name: card.name })}</p>`}
    <main>${content}</main>`;
  if (card) return shell(html`<${Model} key=${card.name} cards=${cards} card=${card} state=${state} change=${change} t=${t} theme=${theme} />`);
  if (problem?.code === "unauthorized") return shell(html`<${TokenForm} t=${t} onToken=${again} />`);
  return shell(html`<div class="hint" role="status">${problem ? html`<${Trouble} t=${t} problem=${problem} />` : t("loading")}</div>`);
}

function Model({ cards, card, state, change, t, theme }) {
  const [hover, point] = useState();
  const [live, setLive] = useState();
  const streaming = useRef();
  const key = JSON.stringify([card.name, state.input, state.reference, state.other, state.branches, state.branch, optionsOf(card, state)]);
  const request = useMemo(() => {
    try {
      return requestOf(card, state);
    } catch {
      return undefined; // an address that was changed by hand
    }
  }, [key]);
  const once = request && JSON.stringify([card.name, request.input, request.options, request.body.reference]);
  const answer = useAnswer((signal) => answered(card, request, signal), once);
  const came = answer.key === once; // the answer first: a trace takes longer
  const traced = request && card.explains && !(came && answer.problem);
  const trace = useAnswer((signal) => api.explain(request.body, signal), traced ? JSON.stringify(request.body) : undefined, came);
  const at = hover ?? { step: whole(state.step), token: whole(state.token) };

  const onStream = async (draft) => {
    streaming.current?.abort();
    streaming.current = new AbortController();
    setLive({ symbols: [], waits: true });
    const onEvent = (name, data) => setLive((before) => follow(before, name, data));
    const values = valuesOf(reading(card), draft.input);
    try {
      await api.stream(card.name, card.streams === "steps" ? stepsOf(card, values[0]) : [asInput(values)], onEvent, streaming.current.signal);
    } catch (problem) {
      if (!streaming.current.signal.aborted) setLive((before) => ({ ...before, waits: false, problem }));
    }
  };

  const branches = parsed(state.branches, []);
  const page = {
    state, change, t, theme, card, at, point,
    sourceValues: request?.sourceValues,
    select: (cell) => (point(undefined), change(cell)),
    branch: (tokens) => change({ branches: JSON.stringify([...branches, tokens]), branch: branches.length + 1, node: null, step: tokens.length - 1 }, true),
    undo: () => change({ branches: JSON.stringify(branches.slice(0, -1)), branch: branches.length - 1 || null, node: null }, true),
  };
  const problem = answer.problem ?? trace.problem;
  return html`
    <${Page.Provider} value=${page}>
      <${Question} card=${card} state=${state} change=${change} t=${t} onStream=${onStream} problem=${problem} />
      <div class="found" aria-busy=${Boolean(answer.waits || trace.waits)}>
        <div class="top">
          ${(answer.value || live) && html`<${Answer} answer=${answer.value} live=${live} />`}
          ${trace.value && html`<${Tokens} trace=${trace.value} />`}
        </div>
        <${Beside} cards=${cards} request=${request} answer=${answer.value} />
        ${branches.length > 0 && html`<${Branches} branches=${branches} />`}
        ${trace.value && html`
          <${Views} trace=${trace.value} sourceValues=${request?.sourceValues} state=${state} change=${change} t=${t} />`}
        ${request && !card.explains && html`<p class="hint">${t("views.absent")}</p>`}
      </div>
    <//>`;
}

render(html`<${App} />`, document.body);
