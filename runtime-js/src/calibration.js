// The calibration of a model's confidence, softmax(log p / T) (Guo et al. 2017, arXiv 1706.04599), with a bias for texts.

const SUREST = -1e-7; // log p of an output, at most: a float32 cannot distinguish more from 1

export class Calibration {
  /** @param {{temperature: number, bias: number}} fitted */
  constructor({ temperature, bias }) {
    this.temperature = temperature;
    this.bias = bias;
  }

  /** The confidence in one of the classes with these log p. @param {ArrayLike<number>} logProbs @param {number} chosen */
  of(logProbs, chosen) {
    const scaled = Array.from(logProbs, (value, place) => value / this.temperature + (place ? 0 : this.bias));
    const most = Math.max(...scaled);
    const shares = scaled.map((value) => Math.exp(value - most));
    return shares[chosen] / shares.reduce((sum, share) => sum + share, 0);
  }

  /** The confidence that an output with this score is wholly right. @param {number} score */
  ofText(score) {
    const right = Math.min(score, SUREST);
    return this.of([right, Math.log(-Math.expm1(right))], 0);
  }
}
