// The sample files of a service. Importing has no effect.
import { send } from "./parts.js";

/**
 * One of the service's sample pictures, as a file; `path` is its place in the repository. The file is empty if the
 * service does not respond; the next request then shows the error.
 */
export async function sampleFile({ pattern }, name) {
  const blob = await send({ url: `samples/${name}` }).then(({ response }) => response.blob()).catch(() => new Blob());
  return Object.assign(new File([blob], name, { type: blob.type }), { path: `patterns/${pattern}/samples/${name}` });
}

/** Calls `use` with the file that was chosen last; a file that arrives after a newer choice is dropped. */
export function latestOnly(use) {
  let latest = 0;
  return async (file, ...rest) => {
    const choice = ++latest;
    const loaded = await file;
    return choice === latest ? use(loaded, ...rest) : undefined;
  };
}
