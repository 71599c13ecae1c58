// Every reason that an answer or a refusal may give, in words; a test holds the list to the service's.

const REASONS = {
  TOO_FEW_FRAMES: "too few frames show a body",
  EMPTY_SILHOUETTE: "many frames show no body",
  TRUNCATED_BODY: "the body is cut off at the edge of the frames",
  LOW_RESOLUTION: "the body is very small in the frames",
  MULTIPLE_BODIES: "there is more than one body in the frames",
  NOT_BINARY: "the frames are not black and white silhouettes",
  DUPLICATE_FRAMES: "many frames are the same picture",
  NO_PERIODICITY: "no steps can be made out",
  NO_THRESHOLD: "this model carries no threshold",
  NEAR_THRESHOLD: "the nearest is near, but not near enough",
  SEVERAL_SUBJECTS: "they are about as near as each other: people alike, or one person under two names",
};

const inWords = (reason) => REASONS[reason] ?? reason.toLowerCase().replaceAll("_", " ");

export const because = (reasons) => reasons.map((one) => `Because ${inWords(one)}.`).join(" ");

export const faults = ({ faults: found }) =>
  found.length ? `A poor walk: ${found.map(inWords).join("; ")}.` : "";
