// Long work that the server does on its own: it is started, followed, and its result fetched.

import { events, json, Problem, request } from "./api.js";

const ENDED = ["succeeded", "failed", "cancelled"];
const PAUSE = 1000;

export const started = async (path, body) => (await json("POST", path, { body })).id;

export const cancel = (id) => json("POST", `/v1/jobs/${id}/cancel`);

export const result = (id) => json("GET", `/v1/jobs/${id}/result`);

/** The job, once it has ended well; raises `Problem` where it has not. `told(job)` hears of its progress. */
export async function followed(id, told, signal) {
  for (;;) {
    let job = await json("GET", `/v1/jobs/${id}`, { signal });
    told(job);
    if (ENDED.includes(job.state)) return well(job);
    try {
      for await (const { event, data } of events(`/v1/jobs/${id}/events`, { signal })) {
        job = event === "state" ? data : { ...job, progress: data };
        told(job);
      }
    } catch (error) {
      // a stream that breaks off is asked for again, and the job is asked how it is
      if (error instanceof Problem || error.name === "AbortError") throw error;
    }
    await new Promise((done) => setTimeout(done, PAUSE));
  }
}

function well(job) {
  if (job.state === "succeeded") return job;
  if (job.state === "cancelled") throw new Problem(409, "cancelled", "It was stopped.");
  throw new Problem(job.problem?.status ?? 500, "failed", job.problem?.detail ?? "It failed; the server's log says why.");
}

/** The latest job of a kind that has ended well, or that still runs; null where there is none. */
export async function latest(collection, kind) {
  const { jobs } = await (await request("GET", `/v1/jobs?collection=${encodeURIComponent(collection)}`)).json();
  return jobs.find((each) => each.kind === kind && !["failed", "cancelled"].includes(each.state)) ?? null;
}
