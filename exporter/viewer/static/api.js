/**
 * Asks the server that this page came from, and nobody else.
 */

/** Says in the words of the server what went wrong. */
export class Problem extends Error {
  /**
   * @param {string} message
   * @param {number} status 0 where nobody answered
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** The generation of the export that the page shows: the server says so when there is another one. */
let generation = /** @type {number | null} */ (null);

/** @param {number | null} shown */
export function askAbout(shown) {
  generation = shown;
}

/**
 * Returns the address of a question, without parameters that are empty.
 *
 * @param {string} path
 * @param {Record<string, string | number | null | undefined>} parameters
 */
export function address(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  return query.size ? `${path}?${query}` : path;
}

/**
 * Returns the answer to a question. Raises `Problem`, and what `signal` raises when it is aborted.
 *
 * @param {string} path
 * @param {Record<string, string | number | null | undefined>} parameters
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function ask(path, parameters = {}, signal = undefined) {
  const response = await reach(address(path, { ...parameters, generation }), { signal });
  if (!response.ok) throw new Problem(await complaint(response), response.status);
  return response.json();
}

/**
 * Returns why audio cannot be played, in the words of the server where it has any.
 *
 * @param {string} url
 */
export async function whyNoAudio(url) {
  try {
    const response = await reach(url, { headers: { Range: "bytes=0-0" } });
    if (!response.ok) return await complaint(response);
    await response.body?.cancel();
    const type = response.headers.get("Content-Type") ?? "of an unknown type";
    return `This browser cannot play the recording (${type}). \`exporter recordings\` says where its file lies.`;
  } catch (error) {
    return error instanceof Problem ? error.message : String(error);
  }
}

/**
 * @param {string} url
 * @param {RequestInit} init
 */
async function reach(url, init) {
  try {
    return await fetch(url, { ...init, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Problem(
      "The viewer does not answer. Start `exporter view` again, and open the address that it prints.", 0,
    );
  }
}

/** @param {Response} response */
async function complaint(response) {
  try {
    const answer = await response.json();
    if (typeof answer?.error === "string") return answer.error;
  } catch {
    // The answer is no JSON: the status is all that it says.
  }
  return `The viewer answered with status ${response.status}. Load this page again.`;
}
