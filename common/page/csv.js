// Reads tables that were pasted as CSV. Loaded when a panel needs it. Importing has no effect.

/** The cells of each line. Separators are comma, semicolon and tab; a cell in quotes may hold them, and lines. */
export function read(text) {
  const lines = [[]];
  for (const [, quoted, plain, end] of `${text.trim()}\n`.matchAll(/[^\S\t\n]*(?:"((?:[^"]|"")*)"|([^,;\t\n]*))[^\S\t\n]*([,;\t\n])/g)) {
    lines.at(-1).push(quoted?.replaceAll('""', '"') ?? plain.trim());
    if (end === "\n") lines.push([]);
  }
  return lines.slice(0, -1);
}
