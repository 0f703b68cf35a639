// The requests of the page to the server that it comes from. docs/ of that server explains every path.

/** A request that was refused: the server's problem details (RFC 9457). */
export class Problem extends Error {
  constructor({ title, detail, code }) {
    super(title);
    Object.assign(this, { title, detail, code });
  }
}

export const DOCS = "docs"; // where its paths are explained

let token = "";

/** The token for a server that needs one. It is kept as long as the page is open, and nowhere else. */
export function useToken(value) {
  token = value;
}

async function ask(path, body, signal) {
  const headers = { ...(body && { "content-type": "application/json" }), ...(token && { authorization: `Bearer ${token}` }) };
  const answer = await fetch(path, { method: body ? "POST" : "GET", body: body && JSON.stringify(body), headers, signal }).catch((error) => {
    throw signal?.aborted ? error : new Problem({ title: error.message, code: "unreachable" });
  });
  if (!answer.ok) throw new Problem(await answer.json());
  return answer;
}

const json = async (...request) => (await ask(...request)).json();

/** The served models and the server's bounds. */
export const models = () => json("v1/models");

/** The answer to one input. */
export async function predict(model, input, options, signal) {
  return only(await json("v1/predict", { model, inputs: [input], options }, signal));
}

/** log p(target | input) in nats. */
export async function score(model, input, target, signal) {
  return only(await json("v1/score", { model, pairs: [{ input, target }] }, signal)).score;
}

function only({ results: [result] }) {
  if (result.error) throw new Problem(result.error);
  return result;
}

/** The trace of one input. */
export const explain = (body, signal) => json("v1/explain", body, signal);

/** Calls `onEvent(name, data)` for each event of a stream, as it comes. */
export async function stream(model, inputs, onEvent, signal) {
  const answer = await ask("v1/predict/stream", { model, inputs }, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let held = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (held + value).split("\n\n");
    held = events.pop();
    for (const event of events) {
      const [name, data] = event.split("\n").map((line) => line.slice(line.indexOf(": ") + 2));
      onEvent(name, JSON.parse(data));
    }
  }
}
