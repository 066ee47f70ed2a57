// What the page asks cnnzoo, and what it does where nobody answers.

const page = crypto.getRandomValues(new Uint32Array(2)).join("-"); // of several tabs each has its own turn

/** What cnnzoo answers instead of what was asked for: one line, to be shown. */
export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Nobody answers. */
export class Gone extends Error {}

/** Ask for something; returns the header of the answer, and the bytes behind it. */
export async function ask(kind, asked, content) {
  const query = asked === undefined ? "" : `?asked=${encodeURIComponent(JSON.stringify(asked))}`;
  return frame(await request(`api/${kind}${query}`, { method: "POST", body: content ?? null }));
}

/** Ask for a few of the test images. */
export async function tests(start, count) {
  return frame(await request(`api/tests?start=${start}&count=${count}`));
}

/** Ask what the net is. */
export async function net() {
  return (await request("api/net")).json();
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { "X-Page": page } });
  } catch {
    throw new Gone();
  }
  if (response.ok) return response;
  const text = await response.text();
  let line = text.trim();
  try {
    line = JSON.parse(text).error;
  } catch {
    // A line of plain text, as 403 has it.
  }
  throw new Refusal(line || `cnnzoo answered with ${response.status}.`, response.status);
}

async function frame(response) {
  let buffer;
  try {
    buffer = await response.arrayBuffer();
  } catch {
    throw new Gone();
  }
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { header, bytes: new Uint8Array(buffer, 4 + length) };
}
