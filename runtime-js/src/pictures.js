// Pictures to pixels of one size, with the whole-number arithmetic of Pillow (Resample.c, Reduce.c): a picture becomes the
// bytes that it becomes in Python, or bytes beside them (1 of 255), since versions of Pillow round at different places.

/** Pixels [height, width, channels]: 1 channel is brightness, 3 are red, green and blue, a fourth is opacity.
 * @typedef {{height: number, width: number, channels: number, data: Uint8Array | Uint8ClampedArray}} Pixels */

const FRACTION = 22; // bits behind the point of a weight
const GAP = 3; // a picture is first reduced by whole factors to so many times the size

/** @param {number} value */
const byte = (value) => Math.max(0, Math.min(255, value));

/**
 * The weights of a triangle filter for each place of an output of `size` out of an input of `length` places, in whole
 * numbers; `from` is how much of the input there is, which may be a fraction.
 * @param {number} length @param {number} from @param {number} size
 */
function weightsOf(length, from, size) {
  const scale = from / size;
  const support = Math.max(scale, 1);
  return Array.from({ length: size }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support + 0.5));
    const end = Math.min(length, Math.floor(centre + support + 0.5));
    const weights = Array.from({ length: end - first }, (_, i) => Math.max(0, 1 - Math.abs((i + first - centre + 0.5) / support)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: weights.map((weight) => Math.floor(0.5 + (total ? weight / total : weight) * 2 ** FRACTION)) };
  });
}

/** @param {Pixels} picture @param {number} from @param {number} width @returns {Pixels} */
function across({ height, width: wide, channels, data }, from, width) {
  const out = new Uint8Array(height * width * channels);
  const places = weightsOf(wide, from, width);
  for (let y = 0; y < height; y++) {
    places.forEach(({ first, weights }, x) => {
      for (let c = 0; c < channels; c++) {
        let sum = 2 ** (FRACTION - 1);
        for (let i = 0; i < weights.length; i++) sum += weights[i] * data[(y * wide + first + i) * channels + c];
        out[(y * width + x) * channels + c] = byte(Math.floor(sum / 2 ** FRACTION));
      }
    });
  }
  return { height, width, channels, data: out };
}

/** @param {Pixels} picture @returns {Pixels} */
function turned({ height, width, channels, data }) {
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < channels; c++) out[(x * height + y) * channels + c] = data[(y * width + x) * channels + c];
  return { height: width, width: height, channels, data: out };
}

/** Means over blocks of whole numbers of pixels. @param {Pixels} picture @param {number} down @param {number} over @returns {Pixels} */
function reduced({ height, width, channels, data }, down, over) {
  const [rows, columns] = [Math.ceil(height / down), Math.ceil(width / over)];
  const out = new Uint8Array(rows * columns * channels);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const [bottom, right] = [Math.min(height, (row + 1) * down), Math.min(width, (column + 1) * over)];
      const count = (bottom - row * down) * (right - column * over);
      const share = Math.floor(2 ** 24 / count);
      for (let c = 0; c < channels; c++) {
        let sum = Math.floor(count / 2);
        for (let y = row * down; y < bottom; y++)
          for (let x = column * over; x < right; x++) sum += data[(y * width + x) * channels + c];
        out[(row * columns + column) * channels + c] = Math.floor((sum * share) / 2 ** 24);
      }
    }
  }
  return { height: rows, width: columns, channels, data: out };
}

/** A picture in another size. @param {Pixels} picture @param {number} height @param {number} width @returns {Pixels} */
export function resized(picture, height, width) {
  if (picture.height === height && picture.width === width) return picture;
  const down = Math.floor(picture.height / height / GAP) || 1;
  const over = Math.floor(picture.width / width / GAP) || 1;
  let [high, wide] = [picture.height, picture.width];
  if (down > 1 || over > 1) {
    picture = reduced(picture, down, over);
    [high, wide] = [high / down, wide / over];
  }
  const inWidth = (/** @type {Pixels} */ from) => (wide === width ? from : across(from, wide, width));
  const inHeight = (/** @type {Pixels} */ from) => (high === height ? from : turned(across(turned(from), high, height)));
  return width > wide && height < high ? inWidth(inHeight(picture)) : inHeight(inWidth(picture)); // what shrinks comes first
}

/** A picture of opacity on white. @param {Pixels} picture @returns {Pixels} */
export function onWhite({ height, width, channels, data }) {
  if (channels !== 4) return { height, width, channels, data };
  const out = new Uint8Array(height * width * 3);
  for (let place = 0; place < height * width; place++) {
    const opacity = data[4 * place + 3];
    const below = (255 - opacity) * 255; // white shows through, of full opacity
    const whole = opacity * 255 + below;
    const share = Math.trunc((opacity * 255 * 255 * 2 ** 7) / whole);
    for (let c = 0; c < 3; c++) {
      const mixed = data[4 * place + c] * share + 255 * (255 * 2 ** 7 - share) + (0x80 << 7);
      out[3 * place + c] = ((mixed >> 8) + mixed) >> 8 >> 7;
    }
  }
  return { height, width, channels: 3, data: out };
}

/** A picture with 3 channels, or with brightness alone. @param {Pixels} picture @param {boolean} color @returns {Pixels} */
export function inColors({ height, width, channels, data }, color) {
  if (channels === (color ? 3 : 1)) return { height, width, channels, data };
  const out = new Uint8Array(height * width * (color ? 3 : 1));
  for (let place = 0; place < height * width; place++) {
    if (color) out.fill(data[place], 3 * place, 3 * place + 3);
    else out[place] = (data[3 * place] * 19595 + data[3 * place + 1] * 38470 + data[3 * place + 2] * 7471 + 0x8000) >> 16;
  }
  return { height, width, channels: color ? 3 : 1, data: out };
}

/**
 * A picture that is no larger than `longest` on a side, in its proportions: what is done first with a picture of a file.
 * @param {Pixels} picture @param {number} longest @returns {Pixels}
 */
export function thumbnail(picture, longest) {
  const { height, width } = picture;
  if (Math.max(height, width) <= longest) return picture;
  const aspect = width / height;
  const nearest = (/** @type {number} */ side, /** @type {(n: number) => number} */ away) => {
    const [low, high] = [Math.floor(side), Math.ceil(side)];
    return Math.max(1, away(high) < away(low) ? high : low);
  };
  if (aspect <= 1) return resized(picture, longest, nearest(longest * aspect, (n) => Math.abs(aspect - n / longest)));
  return resized(picture, nearest(longest / aspect, (n) => (n === 0 ? 0 : Math.abs(aspect - longest / n))), longest);
}

/** Pixels from what a user gives: `Pixels`, an ImageData of a canvas, or lists [height][width] or [height][width][channels]. @param {any} value @returns {Pixels} */
export function readPixels(value) {
  if (Array.isArray(value)) {
    if (!value.length || !Array.isArray(value[0])) throw new Error("must be [height, width] or [height, width, 1, 3 or 4]");
    const each = Array.isArray(value[0][0]) ? value[0][0].length : 1;
    value = { height: value.length, width: value[0].length, channels: each, data: Uint8Array.from(value.flat(2)) };
  }
  if (!value || !value.data || !value.height || !value.width) {
    throw new Error("is not a picture: give {height, width, channels, data}, the ImageData of a canvas, or lists of bytes");
  }
  const { height, width, data, channels = data.length / (height * width) } = value;
  if (![1, 3, 4].includes(channels) || data.length !== height * width * channels) {
    throw new Error(`must have 1, 3 or 4 bytes for each pixel, but has ${data.length} for ${height} x ${width}`);
  }
  return onWhite({ height, width, channels, data });
}
