/**
 * Writes times, durations and sizes for readers. Pure.
 */

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** @param {string} zone */
function formatOf(zone) {
  let format = formats.get(zone);
  if (!format) {
    const two = /** @type {const} */ ("2-digit");
    format = new Intl.DateTimeFormat("en-GB", {
      timeZone: zone, year: "numeric", month: two, day: two, hour: two, minute: two, second: two, hourCycle: "h23",
    });
    formats.set(zone, format);
  }
  return format;
}

/**
 * Returns `2026-02-10 14:03:22` in a zone; a text that is no time stays as it is.
 *
 * @param {string | null | undefined} iso
 * @param {string} zone an IANA name
 */
export function moment(iso, zone) {
  if (!iso) return "";
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return iso;
  const parts = Object.fromEntries(formatOf(zone).formatToParts(time).map((part) => [part.type, part.value]));
  return `${parts.year}-${parts.month}-${parts.day} ${parts.hour}:${parts.minute}:${parts.second}`;
}

/**
 * Returns `1:02:03` or `2:03`, with tenths where asked.
 *
 * @param {number} seconds
 * @param {boolean} tenths
 */
export function clock(seconds, tenths = false) {
  const sign = seconds < 0 ? "−" : "";
  const units = Math[tenths ? "round" : "floor"](Math.abs(seconds) * 10);
  const whole = Math.floor(units / 10);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const text = hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
  return sign + text + (tenths ? `.${units % 10}` : "");
}

/**
 * Returns a duration in words, as `2 min 5 s`.
 *
 * @param {number | null | undefined} seconds
 */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds > 0 && seconds < 0.1) return seconds < 0.001 ? "under 1 ms" : `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${Number(seconds.toFixed(2))} s`;
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return [hours && `${hours} h`, minutes && `${minutes} min`, rest && `${rest} s`].filter(Boolean).join(" ");
}

/**
 * Returns a count with its noun, as `1 turn` or `1,200 turns`.
 *
 * @param {number} count
 * @param {string} noun
 */
export const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/**
 * Returns a size in the unit that fits.
 *
 * @param {number} bytes
 */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  const value = bytes / 1000 ** power;
  return `${power && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

/**
 * Returns the name of a column or a status in words, as `created at`.
 *
 * @param {string} name
 */
export const words = (name) => name.replaceAll("_", " ");
