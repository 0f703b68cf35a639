// The table of views: what can be seen in a trace, in the order in which it is shown.
//
// A view has `shows(trace, sourceValues)`: whether there is anything to see; `Body`: the picture; `table(trace, page)`: the
// same as {head, rows}; `data(trace)`: the values. Its title and how it is read are in words.js, under its name.

import { attention } from "./attention.js";
import { attribution } from "./attribution.js";
import { ablation, compare } from "./runs.js";
import { answers, beliefs } from "./answers.js";
import { beam } from "./beam.js";
import { diagram } from "./diagram.js";
import { overlay } from "./overlay.js";
import { distance } from "./distance.js";
import { play } from "./play.js";
import { pooling } from "./pooling.js";
import { prompt, steps } from "./steps.js";
import { series } from "./series.js";
import { states } from "./states.js";
import { strips } from "./strips.js";

export const VIEWS = {
  attention, overlay, answers, series, beliefs, play, compare, ablation, strips, steps, prompt, attribution, distance, pooling, beam, states, diagram,
};
