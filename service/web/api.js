// Calls the service. Every failure is an Error whose message is the problem's sentence.

import { askForKey, headers } from "./key.js";
import { because } from "./reasons.js";

const TRIES = 4;
const LONGEST_WAIT_S = 10;

const seconds = (time) => new Promise((resolve) => setTimeout(resolve, 1000 * time));

async function send(method, path, body) {
  try {
    return await fetch(path, { method, body, headers: headers() });
  } catch {
    throw new Error("The service does not answer.");
  }
}

// A busy service says when to come back; one that wants a key is asked again with one.
async function patient(method, path, body) {
  for (let left = TRIES; ; left--) {
    const response = await send(method, path, body);
    const wait = Number(response.headers.get("Retry-After"));
    if ([429, 503].includes(response.status) && wait > 0 && wait <= LONGEST_WAIT_S && left > 1) {
      await seconds(wait);
    } else if (response.status !== 401 || !(await askForKey())) {
      return response;
    }
  }
}

function sentence({ reasons, detail }, status) {
  if (reasons?.length) return `The walk is too poor to enrol. ${because(reasons)}`;
  return detail ?? `The service answered ${status}.`;
}

async function call(method, path, body) {
  const response = await patient(method, path, body);
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(sentence(answer, response.status));
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

const subjectPath = (subject) => `/subjects/${encodeURIComponent(subject)}`;
const samplePath = (sample) => `/samples/${encodeURIComponent(sample)}`;

export const info = () => call("GET", "/info");
export const preview = (files) => call("POST", "/preview", form(files));
export const identify = (files) => call("POST", "/identify", form(files));
export const enroll = (files, subject) => call("POST", "/enroll", form(files, { subject }));
export const eraseSubject = (id) => call("DELETE", subjectPath(id));
export const eraseSample = (id) => call("DELETE", samplePath(id));
export const sampleWalk = (id) => call("GET", `${samplePath(id)}/walk`);
export const samples = () => call("GET", "/web/samples/index.json");

export async function sampleFile(name) {
  const response = await send("GET", `/web/samples/${encodeURIComponent(name)}`);
  if (!response.ok) throw new Error(`The sample ${name} is not there.`);
  return new File([await response.blob()], name);
}

function page(path, limit, after) {
  const query = new URLSearchParams(after === null ? { limit } : { limit, after });
  return call("GET", `${path}?${query}`);
}

export const subjects = (after) => page("/subjects", 50, after);
// Each walk of a page is a picture to fetch.
export const subject = (id, after) => page(subjectPath(id), 12, after);
