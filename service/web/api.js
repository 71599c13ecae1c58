// Calls the service. Every failure is an Error whose message is the problem's sentence.

async function call(method, path, body) {
  let response;
  try {
    response = await fetch(path, { method, body });
  } catch {
    throw new Error("The service does not answer.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.detail ?? `The service answered ${response.status}.`);
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
export const subject = (id) => call("GET", subjectPath(id));
export const eraseSubject = (id) => call("DELETE", subjectPath(id));
export const eraseSample = (id) => call("DELETE", samplePath(id));
export const sampleWalk = (id) => call("GET", `${samplePath(id)}/walk`);

export function subjects(after) {
  const query = after === null ? "" : `?${new URLSearchParams({ after })}`;
  return call("GET", `/subjects${query}`);
}
