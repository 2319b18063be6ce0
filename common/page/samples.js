// What a service has to try it with. Importing has no effect.

/** A picture of the service's own to try it with, as a file; `path` is where a checkout of the repository has it. */
export async function sampleFile({ pattern }, name) {
  const blob = await (await fetch(`samples/${name}`)).blob();
  return Object.assign(new File([blob], name, { type: blob.type }), { path: `patterns/${pattern}/samples/${name}` });
}
