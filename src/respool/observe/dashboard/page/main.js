// Gets the snapshots, streamed or asked for, and shows them. The page keeps some minutes of its own; the server keeps nothing for it.
import { $, element, write } from "./draw.js";
import * as tabs from "./tabs.js";

const POLL = 2000, PATIENCE = 5000, REMEMBERED = 300_000; // milliseconds
const TABS = {
  overview: tabs.showOverview, findings: tabs.showFindings, connections: tabs.showConnections, waiters: tabs.showWaiters,
  requests: tabs.showRequests, routes: tabs.showRoutes, reads: tabs.showReads, sessions: tabs.showSessions,
  settings: tabs.showSettings,
};

const seen = new Map(); // by database: what the page remembers
let latest = null, shown = null, paused = false, heard = performance.now(), severity = "wait", processes = "";

// -- what came ----------------------------------------------------------------------------------------------------------

function take(snapshot) {
  heard = performance.now();
  const from = snapshot.processes.map(({ pid, started }) => `${pid} ${started}`).join();
  if (from !== processes) { for (const memory of seen.values()) memory.sums = null; processes = from; } // its sums begin anew
  for (const database of snapshot.databases) remember(database, Date.parse(snapshot.time) / 1000);
  latest = snapshot;
  offer(snapshot.databases.map(({ name }) => name));
  status("live", paused ? "paused" : "live");
  if (!paused) show(snapshot);
}

function remember(database, at) {
  if (!seen.has(database.name)) seen.set(database.name, { samples: [], kept: new Map(), sums: null });
  const memory = seen.get(database.name), states = database.connections.map(tabs.stateOf);
  const total = (name) => database.routes.reduce((sum, route) => sum + route[name], 0);
  const sums = { at, sql: total("in_sql"), idle: total("idle"), waited: total("waited") };
  const before = memory.sums, passed = before ? at - before.at : 0;
  const rate = (name) => (passed > 0 ? Math.max(0, (sums[name] - before[name]) / passed) : 0);
  memory.samples.push({
    at, executing: states.filter((state) => state === "executing").length, unused: states.filter((state) => state === "unused").length,
    waiting: database.pool.waiting ?? 0, limit: (database.pool.max_size ?? 0) < 1000 ? database.pool.max_size : 0,
    sql: rate("sql"), idle: rate("idle"), waited: rate("waited"),
  });
  memory.sums = sums;
  while ((at - memory.samples[0].at) * 1000 > REMEMBERED) memory.samples.shift();
  tabs.keep(memory.kept, database);
}

// -- what is shown --------------------------------------------------------------------------------------------------------

function show(snapshot) {
  shown = snapshot;
  const database = snapshot.databases.find(({ name }) => name === $("database").value) ?? snapshot.databases[0];
  const findings = snapshot.findings.filter((found) => found.database === database.name);
  const now = Date.parse(snapshot.time) / 1000;
  judge(snapshot, now);
  write($("count-findings"), findings.length || "");
  write($("count-connections"), database.connections.length || "");
  write($("count-waiters"), database.waiters.length || "");
  write($("count-sessions"), database.scopes.length || "");
  TABS[tab()]({ snapshot, database, findings, now, ...seen.get(database.name) });
}

function judge({ verdict: said, databases, findings, processes: all, silent }, now) {
  const verdict = silent.length ? `${said} ${silent.length} of ${all.length + silent.length} processes do not answer.` : said;
  const within = (seconds) => findings.some(({ last }) => now - last < seconds), waiting = databases.some(({ pool }) => pool.waiting);
  const bad = databases.some(({ pool }) => pool.database_away || pool.closed || pool.oldest_wait > 1) || (waiting && within(5));
  const state = bad ? "bad" : within(120) || silent.length ? "warn" : "good"; // a short line is no trouble
  $("verdict").dataset.state = state;
  write($("verdict"), verdict);
  if (state !== severity) write($("told"), verdict); // read out when things change, and not each second
  severity = state;
}

function offer(names) {
  const pick = $("database");
  if ([...pick.options].map(({ value }) => value).join("\n") === names.join("\n")) return;
  const chosen = pick.value;
  pick.replaceChildren(...names.map((name) => element("option", { text: name, value: name })));
  if (names.includes(chosen)) pick.value = chosen;
  $("pick").hidden = names.length < 2;
}

const tab = () => (Object.hasOwn(TABS, location.hash.slice(1)) ? location.hash.slice(1) : "overview");

function turn() {
  for (const name of Object.keys(TABS)) $(name).hidden = name !== tab();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${tab()}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (shown) show(shown);
  window.scrollTo(0, 0);
}

function status(state, words) {
  $("status").dataset.state = state;
  write($("status"), words);
  document.body.classList.toggle("away", state === "away");
}

// -- how it comes -----------------------------------------------------------------------------------------------------------

async function poll() {
  for (;;) {
    const next = new Promise((resume) => setTimeout(resume, POLL));
    try {
      const answer = await fetch("live", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      if (answer.ok) take(await answer.json());
      else status("away", answer.status === 403 ? "you may not see this any more" : `the server answers ${answer.status}`);
    } catch { /* told by watch() */ }
    await next;
  }
}

function stream() {
  const source = new EventSource("events");
  source.onmessage = ({ data }) => take(JSON.parse(data));
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) poll(); // enough others look on, or something in between keeps it back
  };
}

function watch() {
  if (performance.now() - heard < PATIENCE) return;
  status("away", `no answer for ${Math.round((performance.now() - heard) / 1000)} s`);
  for (const { samples } of seen.values()) if (samples.length && !samples.at(-1).gap) samples.push({ gap: true, at: samples.at(-1).at });
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", paused);
  if (!paused && latest) show(latest);
});
for (const id of ["database", "order", "only", "only-reads"]) $(id).addEventListener("input", () => shown && show(shown));
for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", () => shown && show(shown));
window.addEventListener("hashchange", turn);
turn();
setInterval(watch, 1000);
if (document.documentElement.dataset.live === "stream") stream();
else poll();
