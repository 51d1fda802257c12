/**
 * Reads and writes the fragment of the address, which holds what is being looked at: filters, conversation, item.
 *
 * Nothing else of the address is ever read: its path is the secret.
 */

export const FILTERS = /** @type {const} */ ([
  "text", "since", "until", "agent_id", "agent_version_id", "channel", "status", "user", "duration_above",
  "latency_above", "recording",
]);

/**
 * @typedef {object} Route
 * @property {Record<string, string>} filters those that are set
 * @property {string | null} id the conversation; null means the list
 * @property {number | null} item where in it
 */

/**
 * @param {string} fragment with or without `#`
 * @returns {Route}
 */
export function readRoute(fragment) {
  const parameters = new URLSearchParams(fragment.replace(/^#/, ""));
  /** @type {Record<string, string>} */
  const filters = {};
  for (const name of FILTERS) {
    const value = (parameters.get(name) ?? "").trim();
    if (value) filters[name] = value;
  }
  const item = Number(parameters.get("item") ?? Number.NaN);
  return { filters, id: parameters.get("id") || null, item: Number.isSafeInteger(item) && item >= 0 ? item : null };
}

/**
 * @param {Partial<Route>} route
 * @returns {string} with `#`
 */
export function writeRoute({ filters = {}, id = null, item = null }) {
  const parameters = new URLSearchParams();
  for (const name of FILTERS) if (filters[name]) parameters.set(name, filters[name]);
  if (id) parameters.set("id", id);
  if (id && item !== null) parameters.set("item", String(item));
  return `#${parameters}`;
}

/**
 * @param {Route} one
 * @param {Route} other
 */
export const sameFilters = (one, other) => FILTERS.every((name) => one.filters[name] === other.filters[name]);
