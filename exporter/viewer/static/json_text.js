/**
 * Indents JSON as text, so that no digit of a number and no escape is changed on the way.
 */

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gs;
const LONGEST = 2_000_000;

/**
 * Returns the text of an object or an array on lines of their own; whatever else it is stays as it is.
 *
 * @param {string} text
 * @returns {string}
 */
export function indent(text) {
  if (!/^\s*[{[]/.test(text) || text.length > LONGEST || !isJson(text)) return text;
  const tokens = text.match(TOKEN) ?? [];
  let depth = 0;
  let out = "";
  tokens.forEach((token, at) => {
    const next = tokens[at + 1];
    if (token === "{" || token === "[") {
      const isEmpty = next === "}" || next === "]";
      if (!isEmpty) depth += 1;
      out += token + (isEmpty ? "" : newLine(depth));
    } else if (token === "}" || token === "]") {
      const wasEmpty = tokens[at - 1] === "{" || tokens[at - 1] === "[";
      if (!wasEmpty) depth -= 1;
      out += (wasEmpty ? "" : newLine(depth)) + token;
    } else if (token === ",") out += token + newLine(depth);
    else if (token === ":") out += ": ";
    else out += token;
  });
  return out;
}

/** @param {number} depth */
const newLine = (depth) => `\n${"  ".repeat(Math.min(depth, 40))}`;

/** @param {string} text */
function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Returns any value that the server gave as text to show: JSON is indented.
 *
 * @param {unknown} value
 */
export const shown = (value) => (typeof value === "string" ? indent(value) : (JSON.stringify(value, null, 2) ?? ""));
