// Shows who it is: the decision, and every candidate's distance against the threshold.

import { element } from "./elements.js";

const REASONS = {
  TOO_FEW_FRAMES: "the walk has too few usable frames",
  NO_THRESHOLD: "this model carries no threshold",
};

function verdict(answer) {
  const nearest = answer.candidates[0];
  const words = {
    match: () => `This is ${nearest.subject}.`,
    no_match: () => (nearest ? "Nobody who is enrolled." : "Nobody is enrolled yet."),
    inconclusive: () => "Cannot say.",
  }[answer.decision]();
  return element("p", { className: `verdict ${answer.decision}`, textContent: words });
}

// The bar is a distance: short is near. The mark is the threshold.
function scale(distance, threshold, longest) {
  const near = threshold && distance <= threshold.distance;
  const length = element("div", { className: near ? "length near" : "length" });
  length.style.width = `${(100 * distance) / longest}%`;
  const bar = element("div", { className: "scale", ariaHidden: "true" }, length);
  if (threshold) {
    const mark = element("div", { className: "mark" });
    mark.style.left = `${(100 * threshold.distance) / longest}%`;
    bar.append(mark);
  }
  return bar;
}

function candidateList(answer, onShow) {
  const distances = answer.candidates.map((candidate) => candidate.distance);
  const longest = 1.1 * Math.max(...distances, answer.threshold?.distance ?? 0) || 1;
  const items = answer.candidates.map((candidate) => {
    const show = element("button", { type: "button", className: "small", textContent: "Show walk" });
    show.addEventListener("click", () => onShow(candidate.sample_id, candidate.subject));
    const line = element(
      "div",
      { className: "line" },
      element("span", { textContent: `${candidate.rank}. ${candidate.subject}` }),
      element("span", {}, `distance ${candidate.distance.toFixed(3)} `, show),
    );
    return element("li", {}, line, scale(candidate.distance, answer.threshold, longest));
  });
  return element("ol", { className: "candidates" }, ...items);
}

function notes(answer) {
  const { frames, threshold, timings_ms: timings } = answer;
  const lines = answer.reasons.map((reason) => `Because ${REASONS[reason] ?? reason}.`);
  if (threshold) {
    const rate = `${(100 * threshold.target_fpir).toFixed(1)} % of strangers named`;
    lines.push(`Threshold ${threshold.distance.toFixed(3)}, for ${rate} (${threshold.source}).`);
    if (!threshold.holds) {
      lines.push("The gallery is larger than the one this was measured on: expect more.");
    }
  }
  lines.push(`${frames.used} of ${frames.received} frames used, ${timings.total.toFixed(0)} ms.`);
  return lines.map((textContent) => element("p", { className: "note", textContent }));
}

export function showIdentified(root, answer, onShow) {
  root.replaceChildren(verdict(answer), candidateList(answer, onShow), ...notes(answer));
}

export function showEnrolled(root, answer) {
  const words = answer.duplicate
    ? `This walk of ${answer.subject} was enrolled before.`
    : `Enrolled as ${answer.subject}.`;
  const used = `${answer.frames.used} of ${answer.frames.received} frames used.`;
  root.replaceChildren(
    element("p", { className: "verdict match", textContent: words }),
    element("p", { className: "note", textContent: used }),
  );
}
