/**
 * Decides which item is current at a moment of the recording. Pure.
 */

/**
 * @typedef {object} Start
 * @property {number} index
 * @property {number} seconds
 */

/**
 * Returns the items that have a time, by time. One that claims to have begun before its predecessor counts as begun with it.
 *
 * @param {{index: number, start_seconds: number | null}[]} turns in order
 * @returns {Start[]}
 */
export function startsOf(turns) {
  /** @type {Start[]} */
  const starts = [];
  let latest = Number.NEGATIVE_INFINITY;
  for (const { index, start_seconds: seconds } of turns) {
    if (typeof seconds !== "number") continue;
    latest = Math.max(latest, seconds);
    starts.push({ index, seconds: latest });
  }
  return starts;
}

/**
 * Returns the last item that has begun at this moment; before the first one, null.
 *
 * @param {Start[]} starts
 * @param {number} seconds
 * @returns {number | null}
 */
export function currentAt(starts, seconds) {
  let [low, high] = [0, starts.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (starts[middle].seconds <= seconds) low = middle + 1;
    else high = middle;
  }
  return low ? starts[low - 1].index : null;
}

/**
 * Returns whether the items that are loaded say which one is current at this moment.
 *
 * @param {Start[]} starts
 * @param {number} seconds
 * @param {{first: boolean, last: boolean}} reaches whether the first and the last item are loaded
 */
export function covers(starts, seconds, { first, last }) {
  if (!starts.length) return first && last;
  const [earliest, latest] = [starts[0].seconds, starts[starts.length - 1].seconds];
  return (first || earliest <= seconds) && (last || seconds < latest);
}
