// What the server sends: everything so far when a stream begins, then each event of the training.

import { useEffect, useState } from "../vendor/htm-preact.js";

const NAMES = ["all", "begin", "progress", "validation", "end"];
const RETRY = 2000; // ms, when the connection is lost
const POINTS = 4000; // of a curve, at most
const LOOKS = 200; // validations whose outputs are kept, at most

const EMPTY = { facts: null, progress: [], history: [], looks: [], ended: null };

const thinned = (points, most) => (points.length <= most ? points : points.filter((_, place) => place % 2 === 0 || place === points.length - 1));
const grown = (points, point, most) => thinned([...points, point], most);

/** What is seen after an event more. */
export function follow(seen, name, data) {
  if (name === "all") return data;
  if (name === "begin") return { ...seen, ...data };
  if (name === "progress") return { ...seen, progress: grown(seen.progress, data, POINTS) };
  if (name === "end") return { ...seen, ended: data };
  return { ...seen, history: grown(seen.history, data.entry, POINTS), looks: grown(seen.looks, data.look, LOOKS) };
}

/**
 * The training so far, and whether the connection is `lost`. A page that nobody sees holds no connection, as a browser
 * allows only a few to a server; when it is seen again it gets everything anew.
 */
export function useFeed() {
  const [seen, setSeen] = useState(EMPTY);
  const [lost, setLost] = useState(false);
  useEffect(() => {
    let source, timer, ended;
    const close = () => (clearTimeout(timer), source?.close(), (source = undefined));
    const open = () => {
      close();
      source = new EventSource("/events");
      for (const name of NAMES) {
        source.addEventListener(name, (event) => {
          const data = JSON.parse(event.data);
          ended = name === "end" || Boolean(data.ended);
          setLost(false);
          setSeen((before) => follow(before, name, data));
          if (ended) close();
        });
      }
      source.onerror = () => {
        close();
        setLost(true);
        timer = setTimeout(open, RETRY);
      };
    };
    const show = () => ended || (document.hidden ? close() : open());
    document.addEventListener("visibilitychange", show);
    show();
    return () => (close(), document.removeEventListener("visibilitychange", show));
  }, []);
  return { ...seen, lost };
}
