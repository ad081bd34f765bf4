// The demo's page: asks /_respool twice a second and shows the answer. Text goes in as text only, never as markup.
"use strict";

const POOL_EVERY = 500, SHOP_EVERY = 1500, PATIENCE = 4000; // milliseconds
const SAMPLES = 121, DOTS = 48, SPOOLS = 200;
const SESSIONS = 7, ORDERS = 9, PRODUCTS = 8; // rows
const COLOURS = {
  crimson: "#b3202c", coral: "#f07a5f", amber: "#f2a900", mustard: "#c9992b", olive: "#76793a", moss: "#55703c",
  teal: "#14808a", sky: "#6fb3df", indigo: "#3b3f9e", plum: "#7a2f63", rose: "#e08aa0", ivory: "#f3ead2", slate: "#66707c",
};

const $ = (id) => document.getElementById(id);
const pause = (milliseconds) => new Promise((resume) => setTimeout(resume, milliseconds));
const count = new Intl.NumberFormat("en");
const money = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" });
const price = (cents) => money.format(cents / 100);

function age(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

async function ask(path, method = "GET", body = undefined) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  const answer = await fetch(path, {
    method, headers, body: body && JSON.stringify(body), cache: "no-store", signal: AbortSignal.timeout(PATIENCE),
  });
  return { ok: answer.ok, status: answer.status, data: await answer.json() };
}

const write = (id, text) => { if ($(id).textContent !== String(text)) $(id).textContent = text; };

// -- tables: rows are made once and written into afterwards, so that a focused button stays focused ------------------

function fill(body, items, columns, empty) {
  if (body.dataset.empty) body.replaceChildren();
  body.dataset.empty = items.length ? "" : "yes";
  while (body.rows.length > items.length) body.deleteRow(-1);
  items.forEach((item, index) => {
    const row = body.rows[index] ?? makeRow(body.insertRow(), columns);
    columns.forEach(({ show }, column) => show(row.cells[column], item));
  });
  if (items.length) return;
  const cell = body.insertRow().insertCell();
  cell.colSpan = columns.length;
  cell.className = "empty";
  cell.textContent = empty;
}

function makeRow(row, columns) {
  for (const { make, kind } of columns) {
    const cell = row.insertCell();
    cell.className = kind ?? "";
    if (make) cell.append(...make());
  }
  return row;
}

const element = (name, kind) => Object.assign(document.createElement(name), { className: kind });
const text = (of, kind) => ({ kind, show: (cell, item) => { cell.textContent = of(item); } });

const SESSION = [
  text((scope) => scope.label, "what mono"),
  {
    make: () => [element("span", "chip")],
    show: (cell, { phase }) => { cell.firstChild.dataset.phase = phase; cell.firstChild.textContent = phase; },
  },
  text((scope) => age(scope.age), "number"),
];

const ORDER = [
  text((order) => order.id, "quiet"),
  text(({ lines }) => lines.map((line) => `${line.quantity} × ${line.name}`).join(", "), "what"),
  text((order) => price(order.total_cents), "number"),
  text((order) => age(Math.max(0, (Date.now() - Date.parse(order.created_at)) / 1000)), "number quiet"),
];

const PRODUCT = [
  {
    kind: "what",
    make: () => [element("span", "swatch"), document.createTextNode("")],
    show: (cell, { name }) => {
      const colour = Object.keys(COLOURS).find((word) => name.includes(word));
      cell.firstChild.style.background = COLOURS[colour] ?? "#b9b4aa";
      cell.lastChild.data = name;
    },
  },
  text((product) => price(product.price_cents), "number"),
  text((product) => product.stock, "number quiet"),
  {
    kind: "number",
    make: () => [element("button", "")],
    show: ({ firstChild: button }, product) => {
      button.type = "button";
      button.textContent = product.stock ? "Order one" : "Restock";
      button.setAttribute("aria-label", `${button.textContent}: ${product.name}`);
      button.onclick = () => buy(product);
    },
  },
];

// -- the pool -------------------------------------------------------------------------------------------------------

// A holder reads "GET /orders/3 (task Task-7)", or only "task Task-7" outside of a request.
const request = (holder) => holder.replace(/ \((task|thread) .*\)$/, "").replace(" ", "\n");

function showSlots(pool, connections) {
  const open = [...connections].sort((one, other) => one.number - other.number);
  const places = Math.min(Math.max(pool.max_size < SPOOLS ? pool.max_size : 1, open.length), SPOOLS);
  const list = $("slots");
  while (list.children.length > places) list.lastChild.remove();
  while (list.children.length < places) list.append($("slot").content.cloneNode(true));
  list.classList.toggle("many", places > 14);
  list.style.setProperty("--columns", places > 14 ? Math.min(40, Math.ceil(places / 2)) : Math.max(10, places));
  Array.from(list.children, (slot, place) => {
    const { state = "absent", holder, seconds } = open[place] ?? {};
    slot.dataset.state = state;
    slot.querySelector(".who").textContent = holder ? request(holder) : state === "absent" ? "not open" : state;
    slot.querySelector(".age").textContent = seconds === undefined ? "" : age(seconds);
  });
  list.setAttribute("aria-label", `${pool.acquired} connections acquired, ${pool.idle} idle, ` +
    `${pool.connecting} connecting, ${pool.waiting} requests waiting`);
}

function showLine(waiting) {
  const line = $("line"), dots = Math.min(waiting, DOTS);
  while (line.children.length > dots) line.lastChild.remove();
  while (line.children.length < dots) line.append(document.createElement("i"));
}

const samples = []; // one for each look; null while the server was away

function remember(sample) {
  samples.push(sample);
  if (samples.length > SAMPLES) samples.shift();
  drawChart();
}

function path(of, height, close = false) {
  let drawn = "", pen = false, start = 0;
  const first = SAMPLES - samples.length;
  samples.forEach((sample, index) => {
    const x = first + index;
    if (sample === null) {
      if (pen && close) drawn += `V100H${start}Z`;
      pen = false;
      return;
    }
    if (!pen) start = x;
    drawn += `${pen ? "L" : "M"}${x} ${(100 - of(sample) * height).toFixed(2)}`;
    pen = true;
  });
  return drawn + (pen && close ? `V100H${start}Z` : "");
}

function drawChart() {
  const known = samples.filter(Boolean);
  if (!known.length) return;
  const limit = known.at(-1).max_size, top = Math.max(1, ...known.flatMap((pool) => [pool.acquired, pool.waiting]));
  const bounded = limit <= SPOOLS, scale = 92 / Math.max(top, bounded ? limit : 1), y = 100 - limit * scale;
  $("acquired-area").setAttribute("d", path((pool) => pool.acquired, scale, true));
  $("acquired-path").setAttribute("d", path((pool) => pool.acquired, scale));
  $("waiting-path").setAttribute("d", path((pool) => pool.waiting, scale));
  $("limit-line").setAttribute("y1", y);
  $("limit-line").setAttribute("y2", y);
  $("limit-line").style.visibility = bounded ? "visible" : "hidden";
  $("chart-limit").style.top = `${y}%`;
  write("chart-limit", bounded ? `limit ${limit}` : "");
  const seconds = Math.round(samples.length * POOL_EVERY / 1000);
  $("chart").setAttribute("aria-label", `Over the last ${seconds} seconds: at most ` +
    `${Math.max(...known.map((pool) => pool.acquired))} acquired and ${Math.max(...known.map((pool) => pool.waiting))} waiting`);
}

let before = null; // the snapshot of a moment ago, for rates

function showPool({ time, databases: [{ url, pool, connections, scopes }] }) {
  const unlimited = pool.max_size >= 2 ** 31 - 1;
  write("url", url);
  write("limit", unlimited ? "no limit" : pool.max_size);
  for (const name of ["acquired", "idle", "connecting", "waiting"]) write(name, pool[name]);
  write("acquired-too", pool.acquired);
  write("absent", unlimited ? "–" : pool.max_size - pool.total);
  showSlots(pool, connections);
  showLine(pool.waiting);
  remember(pool);

  const seconds = before && (Date.parse(time) - Date.parse(before.time)) / 1000;
  if (seconds > 0.9 || seconds < 0 || !before) {
    if (seconds > 0) write("rate", count.format(Math.max(0, Math.round((pool.acquired_total - before.handed) / seconds))));
    before = { time, handed: pool.acquired_total };
  }
  write("handed", count.format(pool.acquired_total));
  write("waited", pool.acquired_total ? `${(100 * pool.waited_total / pool.acquired_total).toFixed(1)} %` : "–");
  write("mean", pool.waited_total ? age(pool.wait_time.sum / pool.waited_total) : "–");
  write("timeouts", count.format(pool.timeouts));
  $("timeouts").classList.toggle("bad", pool.timeouts > 0);
  write("held", pool.use_time.total ? age(pool.use_time.sum / pool.use_time.total) : "–");

  const oldest = [...scopes].sort((one, other) => other.age - one.age);
  write("session-count", scopes.length > SESSIONS ? `${scopes.length}, the oldest ${SESSIONS} first` : scopes.length);
  fill($("sessions"), oldest.slice(0, SESSIONS), SESSION, "None at this moment.");
}

function showStatus(state, words) {
  $("status").dataset.state = state;
  write("status", words);
  document.body.classList.toggle("away", state === "away");
}

async function watchPool() {
  for (;;) {
    const next = pause(POOL_EVERY);
    try {
      const { ok, status, data } = await ask("/_respool");
      if (!ok) throw new Error(`status ${status}`);
      showPool(data);
      showStatus("live", "live");
    } catch {
      remember(null);
      showStatus("away", "the server is away, trying again");
    }
    await next;
  }
}

// -- the shop -------------------------------------------------------------------------------------------------------

async function showShop() {
  const search = encodeURIComponent($("search").value.trim());
  const [products, orders] = await Promise.all([
    ask(`/products?limit=${PRODUCTS}&q=${search}`), ask(`/orders?limit=${ORDERS}`),
  ]);
  if (products.ok) fill($("products"), products.data.items, PRODUCT, "Nothing of that name.");
  if (orders.ok) fill($("orders"), orders.data.items, ORDER, "None yet: order something.");
}

async function buy(product) {
  try {
    const answer = product.stock
      ? await ask("/orders", "POST", { product_id: product.id, quantity: 1 })
      : await ask(`/products/${product.id}/restock`, "POST");
    const done = product.stock ? `Order ${answer.data.id} placed: ${product.name}.` : `${product.name}: back in stock.`;
    write("note", answer.ok ? done : `Not done: ${answer.data.detail}.`);
    await showShop();
  } catch {
    write("note", "The server did not answer: look at the latest orders before trying again.");
  }
}

async function watchShop() {
  for (;;) {
    const next = pause(SHOP_EVERY);
    if (!document.hidden) await showShop().catch(() => {});
    await next;
  }
}

$("search").addEventListener("input", () => showShop().catch(() => {}));
watchPool();
watchShop();
