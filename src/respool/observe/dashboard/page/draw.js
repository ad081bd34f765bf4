// Words, tables and pictures. Text goes in as text only, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const whole = new Intl.NumberFormat("en");

export const $ = (id) => document.getElementById(id);

export function element(name, { kind, text, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function drawn(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const write = (node, text) => { if (node.textContent !== String(text)) node.textContent = text; };
export const count = (number) => whole.format(number ?? 0);

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0";
  if (seconds < 0.001) return "< 1 ms";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export const ago = (then, now) => (now - then < 1.5 ? "just now" : `${span(Math.max(0, now - then))} ago`);

// -- tables: rows are made once and written into afterwards, so that what has the focus keeps it ----------------------

// A column: {head, of(item), kind?} for text, or {head, make(), show(nodes, item)} for anything else.
export function table(place, caption, columns, empty) {
  const body = element("tbody");
  const heads = columns.map(({ head, kind }) => element("th", { scope: "col", text: head, kind: kind ?? "" }));
  const made = element("table", {}, element("caption", { kind: "hidden", text: caption }),
    element("thead", {}, element("tr", {}, ...heads)), body);
  const nothing = element("p", { kind: "empty", text: empty });
  const frame = element("div", { kind: "scroll", role: "region", tabindex: "0", "aria-label": caption }, made);
  place.append(frame, nothing);
  return (items) => {
    frame.hidden = !items.length;
    nothing.hidden = items.length > 0;
    while (body.rows.length > items.length) body.deleteRow(-1);
    items.forEach((item, index) => {
      const row = body.rows[index] ?? makeRow(body.insertRow(), columns);
      columns.forEach(({ of, show }, column) => {
        if (of) write(row.cells[column], of(item) ?? "–");
        else show(row.cells[column].firstChild, item);
      });
    });
  };
}

function makeRow(row, columns) {
  for (const { make, kind } of columns) {
    const cell = row.insertCell();
    if (kind) cell.className = kind;
    if (make) cell.append(make());
  }
  return row;
}

export function pairs(list, rows) {
  while (list.children.length > rows.length) list.lastChild.remove();
  rows.forEach(([name, value, kind], index) => {
    const row = list.children[index] ?? list.appendChild(element("div", {}, element("dt"), element("dd")));
    row.className = kind ?? "";
    write(row.firstChild, name);
    write(row.lastChild, value);
  });
}

// -- bars: one line of a request's time -------------------------------------------------------------------------------

export const bar = () => drawn("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });

export function showBar(svg, parts, total) {
  let x = 0;
  svg.replaceChildren(...parts.filter(([, part]) => part > 0).map(([kind, part]) => {
    const width = total > 0 ? Math.min(100 - x, 100 * part / total) : 0;
    const made = drawn("rect", { class: kind, x: x.toFixed(2), y: 0, width: width.toFixed(2), height: 10 });
    x += width;
    return made;
  }));
}

// -- charts: some minutes, drawn from what the page has seen ----------------------------------------------------------

const MINUTES = [1, 2, 5], WIDTH = 300, HEIGHT = 100;

// series: [{name, kind, of(sample)}], of which those that stack are areas on top of each other.
export function chart(card, { unit, stacked, lines, limit }) {
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const top = element("span", { kind: "top", "aria-hidden": "true" });
  const from = element("span"), axis = element("p", { kind: "axis", "aria-hidden": "true" }, from, element("span", { text: "now" }));
  const all = [...stacked, ...lines];
  const key = element("p", { kind: "key-line", "aria-hidden": "true" }, ...all.map(({ name, kind }) => element("span", { kind, text: name })));
  const place = element("div");
  const fill = table(place, `${card.querySelector("h3").textContent}: the most in each half minute`,
    [{ head: "when", of: ({ when }) => when },
      ...all.map(({ name }, index) => ({ head: `${name}${unit}`, kind: "number", of: ({ most }) => round(most[index]) }))],
    "Nothing was seen yet.");
  const details = element("details", {}, element("summary", { text: "As a table" }), place);
  card.append(key, element("div", { kind: "plot" }, svg, top), axis, details);

  return (samples) => {
    const known = samples.filter(({ gap }) => !gap), last = known.at(-1);
    if (!last) return;
    const sum = (sample) => stacked.reduce((total, { of }) => total + of(sample), 0);
    const highest = Math.max(unit ? 0.1 : 1, limit?.(last) ?? 0, ...known.map((sample) => Math.max(sum(sample), ...lines.map(({ of }) => of(sample)))));
    const minutes = MINUTES.find((each) => each * 60 >= last.at - known[0].at) ?? MINUTES.at(-1);
    write(from, `${minutes} min ago`);
    const x = ({ at }) => (WIDTH - WIDTH * (last.at - at) / (minutes * 60)).toFixed(1), y = (value) => (HEIGHT - 94 * value / highest).toFixed(2);
    const shapes = stacked.map(({ kind, of }, index) => {
      const below = (sample) => stacked.slice(0, index).reduce((total, each) => total + each.of(sample), 0);
      const d = stretches(samples).map((part) => `M${part.map((s) => `${x(s)} ${y(below(s) + of(s))}`).join("L")}L` +
        `${[...part].reverse().map((s) => `${x(s)} ${y(below(s))}`).join("L")}Z`).join("");
      return drawn("path", { class: `area ${kind}`, d });
    });
    shapes.push(...lines.map(({ kind, of }) => drawn("path", {
      class: `line ${kind}`, d: stretches(samples).map((part) => `M${part.map((s) => `${x(s)} ${y(of(s))}`).join("L")}`).join(""),
    })));
    const most = limit?.(last);
    if (most) shapes.push(drawn("path", { class: "line limit", d: `M0 ${y(most)}H${WIDTH}` }));
    svg.replaceChildren(...shapes);
    top.style.top = `${most ? y(most) : 0}%`;
    write(top, most ? `limit ${most}` : `${round(highest)}${unit}`);
    svg.setAttribute("aria-label", `The last ${Math.ceil((last.at - known[0].at) / 60)} minutes. At most: ` +
      all.map(({ name, of }) => `${name} ${round(Math.max(...known.map(of)))}${unit}`).join(", "));
    if (details.open) fill(halfMinutes(known, last.at, all));
  };
}

const round = (value) => (value >= 10 || Number.isInteger(value) ? whole.format(Math.round(value)) : value.toFixed(2));

function stretches(samples) {
  const parts = [[]];
  for (const sample of samples) sample.gap ? parts.push([]) : parts.at(-1).push(sample);
  return parts.filter((part) => part.length > 1);
}

function halfMinutes(samples, now, series) {
  const groups = Map.groupBy(samples, ({ at }) => Math.floor((now - at) / 30));
  return [...groups].sort(([one], [other]) => one - other).slice(0, MINUTES.at(-1) * 2).map(([half, group]) => ({
    when: half ? `${span(half * 30)} ago` : "now",
    most: series.map(({ of }) => Math.max(...group.map(of))),
  }));
}

// -- a request's timeline: three lanes ---------------------------------------------------------------------------------

const LANES = { wait: 0, hold: 1, sql: 2, commit: 2 };

export function timeline({ events, seconds, label }) {
  const all = drawn("svg", { class: "timeline", viewBox: "0 0 1000 66", preserveAspectRatio: "none", role: "img",
    "aria-label": `Timeline of ${label}: ${events.length} steps in ${span(seconds)}, each a row of the table below` });
  for (const { kind, start, seconds: took } of events) {
    const width = Math.max(2, 1000 * took / (seconds || 1));
    all.append(drawn("rect", { class: kind, x: Math.min(998, 1000 * start / (seconds || 1)), y: 2 + 22 * (LANES[kind] ?? 2), width, height: 18 },
      drawn("title", {}, `${kind} ${span(took)}`)));
  }
  return element("div", { kind: "lanes" },
    element("p", { kind: "lane-names", "aria-hidden": "true" }, ...["in line", "held", "executing"].map((text) => element("span", { text }))), all);
}

// The steps, and between them the time in which a connection was held and nothing was executed.
export function steps({ events }) {
  const found = events.map((event) => ({ ...event }));
  for (const hold of events.filter(({ kind }) => kind === "hold")) {
    const end = hold.start + hold.seconds;
    const busy = events.filter(({ kind, start }) => (kind === "sql" || kind === "commit") && start >= hold.start - 1e-6 && start <= end);
    busy.sort((one, other) => one.start - other.start);
    let from = hold.start;
    for (const { start, seconds } of [...busy, { start: end, seconds: 0 }]) {
      if (start - from > 0.002) found.push({ kind: "unused", start: from, seconds: start - from, sql: null, place: null });
      from = Math.max(from, start + seconds);
    }
  }
  return found.sort((one, other) => one.start - other.start);
}
