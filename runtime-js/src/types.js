// Types of what goes in and comes out; there is no code here.

/**
 * How outputs are searched for: keys of `decode` in a model's configuration, and what the predictions contain.
 * @typedef {{
 *   beam?: number, n_best?: number, length_penalty?: number, min_length?: number, max_length?: number, token_scores?: boolean
 * }} Options
 */

/** An output: log p in nats with the end symbol, on request of each symbol and the end. @typedef {{text: string, tokens: string[], score: number, token_scores?: number[]}} Candidate */

/** What every prediction may have: the confidence of a calibrated model, and how many symbols of the input are unknown. @typedef {{confidence?: number | number[], unknown?: number}} Further */

/** @typedef {Omit<Candidate, "score"> & {score: number | null, n_best: Candidate[], source_tokens: string[]} & Further} TextPrediction */
/** @typedef {{label: string, probabilities: Record<string, number>} & Further} LabelPrediction */
/** @typedef {{labels: string[], probabilities: number[]} & Further} LabelsPrediction */
/** @typedef {{value: number | null} & Further} NumberPrediction */
/** @typedef {{values: number[][]} & Further} NumbersPrediction */

/** A prediction, by the kind of the target. @typedef {TextPrediction | LabelPrediction | LabelsPrediction | NumberPrediction | NumbersPrediction} Prediction */

export {};
