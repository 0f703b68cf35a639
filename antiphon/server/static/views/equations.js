// The equations of a recurrent cell, with the numbers of one unit at one step in them.

const number = (value) => (Math.abs(value) < 0.0005 ? "0" : value.toFixed(3)).replace("-", "−");
const term = (value) => (value < 0 ? `(${number(value)})` : number(value));
const LETTERS = { input: "i", forget: "f", output: "o", reset: "r", update: "z" };

/** The name of a gate or a candidate in the equations; that of a cell of the user's own is its name. */
export const blockName = (block, layer) => (block === "candidate" ? (layer.from_input.reset ? "nₜ" : "gₜ") : LETTERS[block] ? `${LETTERS[block]}ₜ` : block);

/** What is known of a unit at a step: `value(series)` now, `before(series)` one step earlier, and both sums of a block. */
function known(layer, place, unit) {
  const earlier = layer.direction === "backward" ? place + 1 : place - 1;
  const value = (series) => layer.series[series][place][unit];
  const before = (series) => (layer.series[series][earlier] ?? layer.start[series])[unit];
  const sums = (block) => [layer.from_input[block][place][unit], layer.from_state[block][place][unit]];
  return { value, before, sums };
}

/**
 * The equations as {name, formula, numbers, value, gate}, in the order in which they are computed. Empty for a cell whose
 * blocks have no names.
 */
export function equations(layer, place, unit) {
  const { value, before, sums } = known(layer, place, unit);
  const { layer_norm: normed, zoneout } = layer;
  const [fromInput, fromState] = normed ? ["LN(W xₜ) + b", "LN(U hₜ₋₁) + d"] : ["W xₜ + b", "U hₜ₋₁ + d"];
  const gated = (block, name, call, gate) => {
    const [input, state] = sums(block);
    return { name, formula: `${call}(${fromInput} + ${fromState})`, numbers: `${call}(${number(input)} + ${term(state)})`, value: value(block), gate };
  };
  const gate = (block) => gated(block, blockName(block, layer), "σ", block);
  /** With zoneout a part of the state stays as it was: the value before this, and the equation of what stays. */
  const kept = (series, name, formula, numbers) => {
    const made = (value(series) - zoneout * before(series)) / (1 - zoneout);
    if (!zoneout) return [{ name: `${name}ₜ`, formula, numbers, value: value(series) }];
    return [
      { name: `${name}′ₜ`, formula, numbers, value: made },
      {
        name: `${name}ₜ`, formula: `(1 − ζ) ${name}′ₜ + ζ ${name}ₜ₋₁`, value: value(series),
        numbers: `${number(1 - zoneout)} · ${term(made)} + ${number(zoneout)} · ${term(before(series))}`,
      },
    ];
  };
  if (layer.from_input.input) {
    const [i, f, o, g] = ["input", "forget", "output", "candidate"].map(value);
    const h = (value("state") - zoneout * before("state")) / (1 - zoneout);
    const shown = normed ? `${number(o ? h / o : 0)}` : `tanh(${number((value("cell") - zoneout * before("cell")) / (1 - zoneout))})`;
    return [
      gate("input"), gate("forget"), gate("output"), gated("candidate", "gₜ", "tanh"),
      ...kept("cell", "c", "fₜ cₜ₋₁ + iₜ gₜ", `${number(f)} · ${term(before("cell"))} + ${number(i)} · ${term(g)}`),
      ...kept("state", "h", normed ? `oₜ tanh(LN(c${zoneout ? "′" : ""}ₜ))` : `oₜ tanh(c${zoneout ? "′" : ""}ₜ)`, `${number(o)} · ${shown}`),
    ];
  }
  if (layer.from_input.reset) {
    const [r, z, n] = ["reset", "update", "candidate"].map(value);
    const [input, state] = sums("candidate");
    return [
      gate("reset"), gate("update"),
      { name: "nₜ", formula: `tanh(${fromInput} + rₜ (${fromState}))`, numbers: `tanh(${number(input)} + ${number(r)} · ${term(state)})`, value: n },
      ...kept("state", "h", "(1 − zₜ) nₜ + zₜ hₜ₋₁", `${number(1 - z)} · ${term(n)} + ${number(z)} · ${term(before("state"))}`),
    ];
  }
  if (!layer.from_input.state) return [];
  const [input, state] = sums("state");
  const relu = layer.cell === "rnn_relu";
  const [formula, numbers] = [[fromInput, fromState], [number(input), term(state)]].map(([left, right]) => (relu ? `max(0, ${left} + ${right})` : `tanh(${left} + ${right})`));
  return kept("state", "h", formula, numbers);
}

export const shownNumber = number;
