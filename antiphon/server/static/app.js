// The page: the request to a model, its answer, and the views of how the model came to it.

import { html, render, useEffect, useMemo, useRef, useState } from "./vendor/htm-preact.js";
import * as api from "./api.js";
import { Answer, Branches, Tokens } from "./answer.js";
import { Appearance, languageOf, useTheme } from "./appearance.js";
import { asInput, asTarget, Fields, reading, valuesOf } from "./inputs.js";
import { Choice, Frame, Page } from "./picture.js";
import { parsed, useAddress, whole } from "./state.js";
import { VIEWS } from "./views/index.js";
import { words } from "./words.js";

const OPTIONS = { beam: 1, n_best: 1, length_penalty: 0.1, min_length: 1, max_length: 1 }; // and the steps of their fields
const OUTPUTS = 5; // outputs that are shown, where a search finds as many
const ONWARD = 60; // the most symbols that a language model writes, unless the state has a number
const OPENED = 3; // views, before any is chosen
const RETRY = 1000; // ms, while models are being loaded

/** What belongs to one input of one model, and is forgotten with them. */
const FORGOTTEN = {
  branches: null, branch: null, step: null, token: null, node: null, layer: null, series: null, unit: null, label: null, rank: null, run: null,
};

// --- the request --------------------------------------------------------------------------------------

/** The options that this model takes, as the state has them, or what the page or the model takes for them. */
function optionsOf(card, state) {
  const names = card.options.map(({ name }) => name).filter((name) => name in OPTIONS);
  const defaults = Object.fromEntries(card.options.map(({ name, default: value }) => [name, value]));
  const chosen = Object.fromEntries(names.filter((name) => state[name] !== undefined).map((name) => [name, Number(state[name])]));
  const beam = chosen.beam ?? defaults.beam ?? 1;
  return {
    ...(names.includes("n_best") && beam > 1 && { n_best: Math.min(OUTPUTS, beam) }),
    ...(card.target.kind === "next" && defaults.max_length > ONWARD && { max_length: ONWARD }),
    ...chosen,
  };
}

/** The request of the state to a model; undefined if it has no input. */
function requestOf(card, state) {
  if (!card || state.input === undefined) return undefined;
  const sides = reading(card);
  const sourceValues = valuesOf(sides, parsed(state.input, []));
  const { n_best, ...options } = optionsOf(card, state);
  const branches = parsed(state.branches, []);
  const begin = branches[whole(state.branch) - 1];
  return {
    sourceValues,
    input: asInput(sourceValues),
    options: { ...options, ...(n_best && { n_best }) },
    body: {
      model: card.name,
      input: asInput(sourceValues),
      options,
      ...(state.reference && { reference: asTarget(card.target, state.reference) }),
      ...(state.other && { other: asInput(valuesOf(sides, parsed(state.other, []))) }),
      ...(begin && { begin }),
    },
  };
}

/** The answer to a request: {value}, {problem} or, until it comes, the last one with `waits`. */
function useAnswer(ask, key) {
  const [answer, setAnswer] = useState({});
  useEffect(() => {
    if (key === undefined) return setAnswer({});
    const leaving = new AbortController();
    setAnswer((before) => ({ ...before, waits: true }));
    ask(leaving.signal).then(
      (value) => setAnswer({ value }),
      (problem) => leaving.signal.aborted || setAnswer({ problem }),
    );
    return () => leaving.abort();
  }, [key]);
  return answer;
}

// --- the parts of the page ----------------------------------------------------------------------------

function Head({ cards, card, state, change, t, language }) {
  return html`
    <header class="head">
      <div class="brand"><h1>Antiphon</h1><p>${t("about")}</p></div>
      <div class="settings">
        ${card && html`
          <${Choice} label=${t("model")} value=${card.name} options=${cards.map(({ name, structure }) => [name, `${name} (${structure})`])}
            onChoose=${(model) => change({ ...FORGOTTEN, model, input: null, reference: null, other: null }, true)} />`}
        <${Appearance} state=${state} change=${change} t=${t} language=${language} />
        <a href="docs">${t("docs")}</a>
      </div>
    </header>`;
}

/** The form. What is typed is kept here, and goes into the address when it is sent. */
function Question({ card, state, change, t, onStream, problem }) {
  const sides = reading(card);
  const held = () => ({ input: parsed(state.input, []), other: parsed(state.other, []), reference: state.reference ?? "" });
  const [draft, setDraft] = useState(held);
  useEffect(() => setDraft(held()), [card.name, state.input, state.other, state.reference]);
  const [wrong, setWrong] = useState(false);
  const write = (part) => (value) => setDraft((before) => ({ ...before, [part]: value }));
  const options = card.options.filter(({ name }) => name in OPTIONS);
  const taken = optionsOf(card, state);
  const contextual = card.explains && card.streams === "tokens" && card.target.kind !== "next" && sides.length > 0;
  const compares = card.explains || card.scores;
  const submit = () => {
    try {
      valuesOf(sides, draft.input);
      if (draft.reference) asTarget(card.target, draft.reference);
      if (draft.other.some(Boolean)) valuesOf(sides, draft.other);
    } catch {
      return setWrong(true), false;
    }
    setWrong(false);
    const other = draft.other.some(Boolean) ? JSON.stringify(draft.other) : null;
    change({ ...FORGOTTEN, model: card.name, input: JSON.stringify(draft.input), reference: draft.reference, other }, true);
    return true;
  };
  const onKeyDown = (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && submit();
  return html`
    <form class="ask card" aria-label=${t("input")} onSubmit=${(event) => (event.preventDefault(), submit())} onKeyDown=${onKeyDown}>
      ${sides.length ? html`<${Fields} name="input" sides=${sides} values=${draft.input} set=${write("input")} />` : html`<p class="hint">${t("nothing")}</p>`}
      ${compares && html`
        <div class="field"><label for="reference">${t("reference.label")}</label>
          <input id="reference" dir="auto" value=${draft.reference} onInput=${(event) => write("reference")(event.currentTarget.value)} /></div>`}
      ${contextual && html`
        <details open=${Boolean(state.other)}><summary>${t("other")}</summary>
          <${Fields} name="other" sides=${sides} values=${draft.other} set=${write("other")} labelled=${false} /></details>`}
      ${options.length > 0 && html`
        <details><summary>${t("options")}</summary>
          <div class="fields">${options.map(({ name, default: value }) => html`
            <label>${t(`option.${name}`)}
              <input type="number" min=${name === "beam" || name === "n_best" ? 1 : 0} step=${OPTIONS[name]} placeholder=${taken[name] ?? value ?? ""} value=${state[name] ?? ""}
                onChange=${(event) => change({ [name]: event.currentTarget.value })} /></label>`)}</div></details>`}
      ${(wrong || problem) && html`<p class="problem" role="alert">${wrong ? t("numbers.wrong") : problem.message}</p>`}
      <div class="go">
        <button type="submit" class="main">${t("ask")}</button>
        ${card.streams && html`<button type="button" onClick=${() => submit() && onStream(draft)}>${t("stream")}</button>`}
      </div>
    </form>`;
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

/** The served models; while they are being loaded the request is sent again. */
function useCards() {
  const [served, setServed] = useState({ cards: [] });
  const [attempt, again] = useState(0);
  useEffect(() => {
    api.models().then(
      ({ models }) => (models.length ? setServed({ cards: models }) : setTimeout(() => again(attempt + 1), RETRY)),
      (problem) => setServed({ cards: [], problem }),
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
  if (card) return shell(html`<${Model} key=${card.name} card=${card} state=${state} change=${change} t=${t} theme=${theme} />`);
  if (problem?.code === "unauthorized") return shell(html`<${TokenForm} t=${t} onToken=${again} />`);
  return shell(html`<p class="hint" role="status">${problem?.message ?? t("loading")}</p>`);
}

function Model({ card, state, change, t, theme }) {
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
  const trace = useAnswer((signal) => api.explain(request.body, signal), request && card.explains ? JSON.stringify(request.body) : undefined);
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
        ${branches.length > 0 && html`<${Branches} branches=${branches} />`}
        ${trace.value && html`
          <${Views} trace=${trace.value} sourceValues=${request?.sourceValues} state=${state} change=${change} t=${t} />`}
        ${request && !card.explains && html`<p class="hint">${t("views.absent")}</p>`}
      </div>
    <//>`;
}

/** The answer, and the log p of a reference from the server. */
async function answered(card, { input, options, body }, signal) {
  const scores = card.scores && body.reference !== undefined && card.target.kind !== "next";
  const [prediction, reference] = await Promise.all([
    api.predict(card.name, input, options, signal),
    scores ? api.score(card.name, input, body.reference, signal) : undefined,
  ]);
  return { ...prediction, reference };
}

/** The steps of a sequence that is answered step by step. */
function stepsOf(card, value) {
  return card.sources[0].kind === "text" ? value.split(/\s+/).filter(Boolean) : value;
}

/** What a stream has sent, and one event more. */
function follow(live, name, data) {
  if (name === "token") return { ...live, text: data.text, score: data.score, symbols: data.token === null ? live.symbols : [...live.symbols, data.token] };
  if (name === "step") return { ...live, symbols: [...live.symbols, data.label ?? data.labels?.[0] ?? JSON.stringify(data.value ?? data.values)] };
  if (name === "error" || data.error) return { ...live, problem: { message: (data.error ?? data).title } };
  return name === "end" ? { ...live, waits: false } : live;
}

render(html`<${App} />`, document.body);
