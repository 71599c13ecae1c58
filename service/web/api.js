// Calls the service. Every failure is an Error whose message is the problem's sentence.

import { askForKey, headers, moment } from "./key.js";
import { because } from "./reasons.js";

const TRIES = 4;
const LONGEST_WAIT_S = 10;

// The service answered that it will not.
export class Refused extends Error {
  constructor(sentence, status, code) {
    super(sentence);
    Object.assign(this, { status, code });
  }
}

// What a call tells when nobody looks on; see `Work`.
const UNSEEN = { signal: undefined, sending: () => {}, waiting: () => {} };

function seconds(time, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, 1000 * time);
    signal?.addEventListener("abort", () => reject(signal.reason));
  });
}

async function send(method, path, body, work) {
  try {
    if (body) return await upload(method, path, body, work);
    return await fetch(path, { method, headers: headers(), signal: work.signal });
  } catch (error) {
    if (work.signal?.aborted) throw error;
    const lost = body && (await unreadable(body));
    if (lost) throw new Error(`The file ${lost.name} cannot be read: choose it again.`);
    dispatchEvent(new Event("unanswered"));
    throw new Error("The service does not answer.");
  }
}

// As `fetch`, which cannot tell how much of a body is sent.
function upload(method, path, body, work) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", ({ loaded, total }) => work.sending(loaded / total));
    request.addEventListener("load", () => resolve({
      status: request.status,
      ok: request.status >= 200 && request.status < 300,
      headers: { get: (name) => request.getResponseHeader(name) },
      json: async () => JSON.parse(request.responseText),
    }));
    request.addEventListener("error", reject);
    request.addEventListener("abort", reject);
    work.signal?.addEventListener("abort", () => request.abort());
    work.sending(0);
    request.send(body);
  });
}

// Finds a file that is gone or was changed since it was chosen, or that is a folder.
async function unreadable(form) {
  for (const file of form.values()) {
    if (!(file instanceof File)) continue;
    try {
      await file.slice(0, 1).arrayBuffer();
    } catch {
      return file;
    }
  }
  return null;
}

// A busy service says when to come back; one that wants a key is asked again with one.
async function patient(method, path, body, work) {
  const { dismissed } = moment();
  for (let left = TRIES; ; left--) {
    const { key } = moment();
    const response = await send(method, path, body, work);
    const answer = await response.json().catch(() => null);
    const wait = Number(response.headers.get("Retry-After"));
    if ([429, 503].includes(response.status) && wait > 0 && wait <= LONGEST_WAIT_S && left > 1) {
      work.waiting(wait);
      await seconds(wait, work.signal);
    } else if (response.status !== 401 || !(await askForKey({ key, dismissed }, answer?.detail))) {
      return { response, answer };
    }
  }
}

function sentence({ reasons, detail }, status) {
  if (reasons?.length) return `The walk is too poor to enrol. ${because(reasons)}`;
  return detail ?? `The service answered ${status}.`;
}

async function call(method, path, body, work = UNSEEN) {
  const { response, answer } = await patient(method, path, body, work);
  const { status, ok } = response;
  if (!ok) throw new Refused(sentence(answer ?? {}, status), status, answer?.code);
  if (answer === null) throw new Error("The service's answer cannot be read.");
  return answer;
}

// One picture is a walk of one frame; several pictures are its frames in the order of their names.
function form(files, fields = {}) {
  const data = new FormData();
  const pictures = files.every((file) => file.type.startsWith("image/"));
  const byName = new Intl.Collator("en", { numeric: true });
  const ordered = [...files].sort((a, b) => byName.compare(a.name, b.name));
  for (const file of ordered) data.append(pictures ? "frames" : "sequence", file);
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  return data;
}

function subjectPath(subject) {
  // To a browser these two are steps within a path, however they are written.
  if ([".", ".."].includes(subject)) {
    throw new Error(`A browser cannot ask for the subject "${subject}": use the command line.`);
  }
  return `/subjects/${encodeURIComponent(subject)}`;
}

const samplePath = (sample) => `/samples/${encodeURIComponent(sample)}`;

export const info = () => call("GET", "/info");
export const preview = (files, work) => call("POST", "/preview", form(files), work);
export const identify = (files, work) => call("POST", "/identify", form(files), work);
export const enroll = (files, subject, work) => call("POST", "/enroll", form(files, { subject }), work);
export const eraseSubject = async (id) => call("DELETE", subjectPath(id));
export const eraseSample = (id) => call("DELETE", samplePath(id));
export const sampleWalk = (id) => call("GET", `${samplePath(id)}/walk`);
export const samples = () => call("GET", "/web/samples/index.json");

export async function sampleFile(name) {
  const response = await send("GET", `/web/samples/${encodeURIComponent(name)}`, null, UNSEEN);
  if (!response.ok) throw new Error(`The sample ${name} is not there.`);
  return new File([await response.blob()], name);
}

async function page(path, limit, after, search = "") {
  const query = new URLSearchParams(after === null ? { limit } : { limit, after });
  if (search) query.set("search", search);
  return call("GET", `${path}?${query}`);
}

export const subjects = (after, search) => page("/subjects", 50, after, search);
// Each walk of a page is a picture to fetch.
export const subject = async (id, after) => page(subjectPath(id), 12, after);
