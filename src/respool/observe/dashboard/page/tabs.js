// The tabs: what each one shows of a database, from the snapshot and nothing else.
import { $, ago, bar, chart, count, element, pairs, showBar, span, steps, table, timeline, write } from "./draw.js";

const KEPT = 300, ROWS = 40, SLOTS = 120;
const code = (text) => element("code", { text });
const sorted = (items, by) => [...items].sort((one, other) => by(other) - by(one));
const used = (row) => row.state === "acquired" && row.executing;
const unused = (row) => row.state === "acquired" && !row.executing;
const coded = (of) => ({ make: () => element("code"), show: (node, item) => write(node, of(item) ?? "") });
const line = (of) => coded((item) => of(item)?.replace(/^.*[\\/](?=(?:[^\\/]+[\\/]){2})/, "…/")); // the end of a path says which file it is

// -- overview ---------------------------------------------------------------------------------------------------------

const charts = [
  chart($("chart-connections"), {
    unit: "", limit: ({ limit }) => limit,
    stacked: [{ name: "executing", kind: "sql", of: ({ executing }) => executing }, { name: "held unused", kind: "idle", of: ({ unused }) => unused }],
    lines: [{ name: "in line", kind: "wait", of: ({ waiting }) => waiting }],
  }),
  chart($("chart-time"), {
    unit: " s per second",
    stacked: [
      { name: "in the database", kind: "sql", of: ({ sql }) => sql },
      { name: "holding a connection unused", kind: "idle", of: ({ idle }) => idle },
      { name: "waiting for one", kind: "wait", of: ({ waited }) => waited },
    ],
    lines: [],
  }),
];

export function stateOf(row) {
  return row.state === "acquired" ? (used(row) || row.idle === null ? "executing" : "unused") : row.state;
}

// What is made anew would lose a selection, so it is made when something is new, and only its times move meanwhile.
function anew(list, findings, now, make, words) {
  const key = JSON.stringify(findings.map(({ code: kind, place, count: number, what }) => [kind, place, number, what]));
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(...findings.map(make));
  }
  for (const [index, node] of [...list.querySelectorAll(".seen")].entries()) write(node, words(findings[index], now));
}

const often = (found, now) => `${count(found.count)} ${found.count === 1 ? "time" : "times"}, ${ago(found.last, now)}`;

function showShort(findings, now) {
  anew($("short"), findings, now, (found) => element("li", {},
    element("span", { kind: "what", text: found.what }), found.place ? code(found.place) : "",
    element("span", { kind: "quiet seen" })), (found, moment) => `${often(found, moment)}. Do: ${found.advice[0] ?? ""}`);
  if (!findings.length) $("short").replaceChildren(element("li", { kind: "empty", text: "Nothing was found so far." }));
}

export function showOverview({ database, findings, samples, now }) {
  const { pool, connections } = database, unlimited = (pool.max_size ?? 0) >= 2 ** 31 - 1;
  const states = connections.map(stateOf), number = (state) => states.filter((each) => each === state).length;
  const absent = unlimited ? 0 : Math.max(0, (pool.max_size ?? 0) - states.length);
  write($("in-use"), pool.acquired ?? "–");
  write($("limit"), unlimited ? "no limit" : pool.max_size ?? "–");
  const slots = [...states, ...Array(absent).fill("absent")].slice(0, SLOTS);
  const strip = $("strip");
  while (strip.children.length > slots.length) strip.lastChild.remove();
  while (strip.children.length < slots.length) strip.append(element("li"));
  slots.forEach((state, index) => { strip.children[index].className = state; });
  pairs($("states"), [
    ["executing a statement", number("executing"), "executing"], ["held, and not used", number("unused"), "unused"],
    ["free", number("idle"), "idle"], ["connecting", number("connecting"), "connecting"], ["not open", absent, "absent"],
    ["callers in line", pool.waiting ?? 0, "waiting"],
  ]);
  const wait = pool.wait_time, use = pool.use_time;
  pairs($("counts"), [
    ["requests", count(database.routes.reduce((sum, { requests }) => sum + requests, 0))],
    ["connections handed out", count(pool.acquired_total)],
    ["of these after a wait", count(pool.waited_total), pool.waited_total ? "warn" : ""],
    ["mean wait in line", span(wait?.total ? wait.sum / wait.total : 0)],
    ["mean time held", span(use?.total ? use.sum / use.total : 0)],
    ["gave up waiting", count(pool.timeouts), pool.timeouts ? "bad" : ""],
    ["connects, of which failed", `${count(pool.connects)}, ${count(pool.connect_errors)}`, pool.connect_errors ? "bad" : ""],
  ]);
  // what goes on now, and the more often the sooner
  showShort(sorted(findings, ({ count: often, last }) => (now - last < 60 ? 1e9 : 0) + often).slice(0, 4), now);
  for (const draw of charts) draw(samples);
}

// -- findings -----------------------------------------------------------------------------------------------------------

export function showFindings({ findings, now }) {
  const list = $("findings-list");
  anew(list, findings, now, (found) => element("article", { kind: "card finding" },
    element("h3", {}, element("span", { kind: "chip", text: found.code }), ` ${found.what}`),
    element("p", { kind: "place" }, found.place ? code(found.place) : "at no line that is known"),
    element("p", { kind: "quiet", text: `${found.title}${found.route ? `, in ${found.route}` : ""}.` }), element("p", { kind: "quiet seen" }),
    element("h4", { text: "What to do" }), element("ul", {}, ...found.advice.map((text) => element("li", { text }))),
    ...(found.facts.length ? [element("h4", { text: "What was seen" }), element("ul", { kind: "facts" }, ...found.facts.map((text) => element("li", { text })))] : []),
  ), (found, moment) => `${often(found, moment)}; first ${ago(found.first, moment)}.`);
  if (!findings.length) list.replaceChildren(element("p", { kind: "empty", text: "Nothing was found so far." }));
}

// -- connections, waiters, sessions, settings ---------------------------------------------------------------------------

const words = { executing: "executing", unused: "held, unused", idle: "free", connecting: "connecting" };
const connections = table($("connections-table"), "Connections of the pool", [
  { head: "no.", of: ({ number }) => number, kind: "number" },
  { head: "state", make: () => element("span", { kind: "state" }), show: (node, row) => { const state = stateOf(row); node.dataset.state = state; write(node, words[state] ?? state); } },
  { head: "unused", of: (row) => (unused(row) ? span(row.idle) : ""), kind: "number bad" },
  { head: "for", of: ({ seconds }) => span(seconds), kind: "number" },
  { head: "whose", of: ({ label, holder }) => label ?? holder ?? "" },
  { head: "now at", ...line(({ place }) => place) },
  { head: "taken at", ...line(({ taken_at }) => taken_at) },
  { head: "last statement", ...coded(({ sql }) => sql), kind: "sql" },
  { head: "executed", of: ({ statements }) => statements || "", kind: "number" },
  { head: "in the database", of: ({ in_sql, state }) => (state === "acquired" ? span(in_sql) : ""), kind: "number" },
  { head: "says", of: ({ note }) => note ?? "" },
  { head: "uses", of: ({ uses }) => count(uses), kind: "number" },
  { head: "age", of: ({ age }) => span(age), kind: "number" },
  { head: "process", of: ({ pid }) => pid, kind: "number" },
], "No connection is open.");

const waiters = table($("waiters-table"), "Callers in line", [
  { head: "waits for", of: ({ seconds }) => span(seconds), kind: "number" },
  { head: "who", of: ({ who }) => who },
  { head: "at", ...line(({ place }) => place) },
  { head: "process", of: ({ pid }) => pid, kind: "number" },
], "Nobody waits.");

const sessions = table($("sessions-table"), "Sessions now", [
  { head: "of", of: ({ label }) => label },
  { head: "phase", of: ({ phase }) => phase },
  { head: "age", of: ({ age }) => span(age), kind: "number" },
  { head: "connection", of: ({ holds_connection, waiting }) => (waiting !== null ? `in line for ${span(waiting)}` : holds_connection ? "holds one" : "none") },
  { head: "objects", of: ({ objects }) => Object.entries(objects).map(([state, number]) => `${number} ${state}`).join(", ") || "none" },
  { head: "statements", of: ({ statements }) => count(statements), kind: "number" },
  { head: "waited", of: ({ waited }) => span(waited), kind: "number" },
  { head: "held", of: ({ held }) => span(held), kind: "number" },
  { head: "in the database", of: ({ in_sql }) => span(in_sql), kind: "number" },
  { head: "code", ...line(({ handler, place }) => handler ?? place) },
  { head: "process", of: ({ pid }) => pid, kind: "number" },
], "No session is open at this moment.");

const settings = table($("settings-table"), "Settings of the pool", [
  { head: "setting", ...coded(({ name }) => name) },
  { head: "value", of: ({ value }) => (value === null ? "none" : value) },
  { head: "from", of: ({ source }) => source },
], "This pool is not one of respool's, so its settings are not known.");

const processes = table($("processes-table"), "Processes of the application", [
  { head: "process", of: ({ pid }) => pid, kind: "number" },
  { head: "runs for", of: ({ age }) => (age === undefined ? "" : span(age)), kind: "number" },
  { head: "in use", of: ({ pool }) => pool?.acquired ?? "", kind: "number" },
  { head: "in line", of: ({ pool }) => pool?.waiting ?? "", kind: "number" },
  { head: "says", of: ({ verdict, error }) => verdict ?? error },
  { head: "command", ...coded(({ command }) => command ?? "") },
], "There is none.");

const order = ["executing", "unused", "connecting", "idle"];
export const showConnections = ({ database }) => connections([...database.connections].sort((one, other) =>
  order.indexOf(stateOf(one)) - order.indexOf(stateOf(other)) || other.seconds - one.seconds));
export const showWaiters = ({ database }) => waiters(database.waiters);
export const showSessions = ({ database }) => sessions(sorted(database.scopes, ({ age }) => age));
export function showSettings({ database, snapshot }) {
  settings(database.settings);
  pairs($("process"), [
    ["database", `${database.name}: ${database.url}`], ["application", snapshot.process.application],
    ["versions", `respool ${snapshot.version}, SQLAlchemy ${snapshot.process.sqlalchemy}, Python ${snapshot.process.python}`],
  ]);
  const now = Date.parse(snapshot.time) / 1000;
  processes([...snapshot.processes.map((each) => ({ ...each, age: now - each.started, pool: each.pools[database.name] })), ...snapshot.silent]);
}

// -- requests and routes ------------------------------------------------------------------------------------------------

const rest = ({ seconds, waited, held }) => Math.max(0, seconds - waited - held);
const parts = (of) => [["wait", of.waited], ["sql", of.in_sql], ["idle", of.idle], ["rest", rest(of)]];

const requests = table($("requests-table"), "Requests that are over", [
  {
    head: "request", make: () => element("button", { type: "button", kind: "link" }),
    show: (node, item) => { write(node, item.label); node.onclick = () => showDetail(item); },
  },
  { head: "status", of: ({ status }) => status ?? "", kind: "number" },
  { head: "outcome", of: ({ outcome }) => (outcome === "none" ? "no commit" : outcome) },
  { head: "where its time went", make: bar, show: (node, item) => showBar(node, parts(item), item.seconds), kind: "wide" },
  { head: "in all", of: ({ seconds }) => span(seconds), kind: "number" },
  { head: "waited", of: ({ waited }) => span(waited), kind: "number" },
  { head: "in the database", of: ({ in_sql }) => span(in_sql), kind: "number" },
  { head: "held unused", of: ({ idle }) => span(idle), kind: "number" },
  { head: "statements", of: ({ statements }) => count(statements), kind: "number" },
  { head: "ended", of: ({ ago: words }) => words, kind: "number" },
], "No request has used the database yet.");

export function keep(kept, database) {
  for (const each of database.requests) kept.set(`${each.pid} ${each.label} ${each.seconds} ${each.held}`, each);
  if (kept.size <= KEPT) return;
  for (const [key] of [...kept].sort(([, one], [, other]) => one.began - other.began).slice(0, kept.size - KEPT)) kept.delete(key);
}

export function showRequests({ kept, now }) {
  const by = $("order").value, only = $("only").value.trim().toLowerCase();
  const wanted = [...kept.values()].filter(({ label, route }) => `${label} ${route}`.toLowerCase().includes(only));
  requests(sorted(wanted, (each) => each[by]).slice(0, ROWS).map((each) => ({ ...each, ago: ago(each.began + each.seconds, now) })));
}

function showDetail(request) {
  const detail = $("detail"), place = element("div");
  const close = element("button", { type: "button", text: "Close" });
  close.onclick = () => { detail.hidden = true; };
  const fill = table(place, `Steps of ${request.label}`, [
    { head: "at", of: ({ start }) => span(Math.max(0, start)), kind: "number" },
    { head: "step", make: () => element("span", { kind: "step" }), show: (node, { kind }) => { node.dataset.kind = kind; write(node, { wait: "in line", hold: "held a connection", sql: "statement", commit: "commit", unused: "held, nothing executed" }[kind] ?? kind); } },
    { head: "took", of: ({ seconds }) => span(seconds), kind: "number" },
    { head: "line", ...line(({ place }) => place) },
    { head: "statement", ...coded(({ sql }) => sql ?? ""), kind: "sql" },
  ], "No step was noted.");
  fill(steps(request));
  detail.replaceChildren(
    element("div", { kind: "title" }, element("h3", { text: request.label }), close),
    element("p", { kind: "quiet", text: `${request.route}: ${span(request.seconds)} in all, ${span(request.waited)} in line, ${span(request.in_sql)} in the database, ` +
      `${span(request.idle)} holding a connection unused; ${count(request.statements)} statements.` }),
    timeline(request), place,
    ...(request.dropped ? [element("p", { kind: "quiet", text: `${count(request.dropped)} steps more were not kept.` })] : []));
  detail.hidden = false;
  detail.focus();
}

const routes = table($("routes-table"), "Figures of each route", [
  { head: "route", of: ({ route }) => route },
  { head: "requests", of: ({ requests: number }) => count(number), kind: "number" },
  { head: "where the time went", make: bar, show: (node, item) => showBar(node, parts(item), item.seconds), kind: "wide" },
  { head: "mean", of: ({ seconds, requests: number }) => span(seconds / number), kind: "number" },
  { head: "slowest", of: ({ slowest }) => span(slowest), kind: "number" },
  { head: "waited", of: ({ waited, requests: number }) => span(waited / number), kind: "number" },
  { head: "in the database", of: ({ in_sql, requests: number }) => span(in_sql / number), kind: "number" },
  { head: "held unused", of: ({ idle, requests: number }) => span(idle / number), kind: "number" },
  { head: "most", of: ({ most_idle }) => span(most_idle), kind: "number" },
  { head: "statements", of: ({ statements, requests: number }) => (statements / number).toFixed(1), kind: "number" },
  { head: "commits", of: ({ outcomes }) => Object.entries(outcomes).filter(([, number]) => number).map(([name, number]) => `${count(number)} ${name}`).join(", ") },
], "No request has used the database yet.");

export const showRoutes = ({ database }) => routes(sorted(database.routes, ({ idle }) => idle).filter((each) => each.requests));

// -- reads: which statements are planned, and why the others are not --------------------------------------------------

const reads = table($("reads-table"), "Statements that sessions have executed", [
  { head: "state", make: () => element("span", { kind: "state" }), show: (node, { planned }) => { node.dataset.state = planned ? "planned" : "unplanned"; write(node, planned ? "planned" : "not planned"); } },
  { head: "statement", ...coded(({ text }) => text), kind: "sql" },
  { head: "kind", of: ({ kind }) => kind },
  { head: "why", of: ({ why }) => why ?? "", kind: "said" },
  { head: "what to do", of: ({ advice }) => advice ?? "", kind: "said" },
  { head: "processes", of: ({ pids }) => count(pids.length), kind: "number" },
], "No such statement is known.");

export function showReads({ database: { plans } }) {
  const only = folded($("only-reads").value), rest = plans.known - plans.statements.length;
  write($("reads-told"), plans.on
    ? `A planned read goes from the driver's rows to objects by what its first execution has left. Of ${count(plans.known)} statements ` +
      `that are known, ${count(plans.planned)} are planned.${rest > 0 ? ` ${count(rest)} are not shown here; respool explain --plan tells of all.` : ""}`
    : `Plans are off: every read goes SQLAlchemy's way. To switch them on, ${plans.advice}.`);
  obstacles(plans.obstacles);
  reads(plans.statements.filter(({ text }) => folded(text).includes(only)));
}

const folded = (text) => text.replace(/\s+/g, " ").trim().toLowerCase();

function obstacles(found) {
  const list = $("obstacles"), key = JSON.stringify(found);
  $("reads-card").hidden = !found.length;
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...found.map(({ what, stops, advice }) => element("li", {},
    element("span", { kind: "what", text: what }),
    element("span", { kind: "quiet seen", text: `${stops ? "No read is planned" : "Planned reads take longer"}. Do: ${advice}` }))));
}
