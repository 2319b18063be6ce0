// What a service has to try it with. Importing has no effect.

/**
 * A picture of the service's own to try it with, as a file; `path` is where a checkout of the repository has it. It is
 * empty where the service does not answer, which the next call then tells.
 */
export async function sampleFile({ pattern }, name) {
  const blob = await fetch(`samples/${name}`).then((reply) => reply.blob()).catch(() => new Blob());
  return Object.assign(new File([blob], name, { type: blob.type }), { path: `patterns/${pattern}/samples/${name}` });
}

/** `use` for the file that was wished for last: one that arrives behind a newer wish is let go. */
export function lastWish(use) {
  let wish = 0;
  return async (file, ...rest) => {
    const mine = ++wish;
    const arrived = await file;
    return mine === wish ? use(arrived, ...rest) : undefined;
  };
}
