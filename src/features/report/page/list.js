// The list of features: what is searched, its order, and a page of it.
"use strict";

{
  const { el, whole } = monosem;
  const PAGE = 50;
  const MOST_TOKENS = 60;
  const MOST_OF_A_TOKEN = 5000;
  const MOST_TEXTS = 2000;
  const orders = new Map();

  /** What the list shows: in `matches` a feature has what it was found by. */
  const state = { order: null, matches: null, scanned: null, key: null };
  monosem.listState = state;

  const ordered = (sort) => {
    if (!orders.has(sort)) {
      const { features, density, maximum } = monosem.all;
      const numbers = Uint32Array.from({ length: features }, (_, feature) => feature);
      const value = { density, maximum }[sort.replace("rare", "density")];
      if (value) numbers.sort((one, other) => value[other] - value[one] || one - other);
      orders.set(sort, sort === "rare" ? numbers.reverse() : numbers);
    }
    return orders.get(sort);
  };

  const findLabels = (query, matches) => {
    for (const [feature, label] of monosem.all.labels) {
      if (monosem.folded(label).includes(query)) matches.set(feature, { by: "label" });
    }
  };

  const findTokens = async (query, matches) => {
    const tokens = await monosem.store.tokens();
    const found = [];
    const bare = query.trim();
    tokens.folded.forEach((text, at) => {
      if (!text.includes(query) && !(bare && text.trim() === bare)) return;
      const rank = text === query ? 0 : text.trim() === bare ? 1 : text.trimStart().startsWith(bare) ? 2 : 3;
      found.push([rank, text.length, at]);
    });
    found.sort((one, other) => one[0] - other[0] || one[1] - other[1] || one[2] - other[2]);
    for (const [, , at] of found.slice(0, MOST_TOKENS)) {
      for (const feature of await monosem.store.listed(tokens, at, MOST_OF_A_TOKEN)) {
        if (!matches.has(feature)) matches.set(feature, { by: "token", text: tokens.texts[at] });
      }
    }
  };

  const textOf = (example) => example.text.map((shown) => (typeof shown === "string" ? shown : shown.start)).join("");

  const findText = (query, number, features, matches) => {
    features.forEach((entry, at) => {
      const feature = number * monosem.all.chunk + at;
      if (matches.has(feature) || matches.size > MOST_TEXTS) return;
      for (const example of entry.examples) {
        const text = textOf(example);
        const place = text.toLowerCase().indexOf(query);
        if (place >= 0) {
          const cut = text.slice(Math.max(0, place - 24), place + query.length + 40);
          matches.set(feature, { by: "text", text: cut });
          return;
        }
      }
    });
  };

  /** Finds the features of a query; null without one. */
  const search = async (query) => {
    if (query.trim() === "") return null;
    const matches = new Map();
    const folded = query.toLowerCase();
    const number = Number(query.trim().replace(/[,_]/g, ""));
    if (Number.isInteger(number) && number >= 0 && number < monosem.all.features) matches.set(number, { by: "number" });
    findLabels(folded.trim(), matches);
    await findTokens(folded, matches);
    for (const [at, features] of monosem.store.loadedChunks()) findText(folded, at, features, matches);
    return matches;
  };

  const withinRange = (query) => {
    const bound = (text, otherwise) => {
      const number = Number(text);
      return text && Number.isFinite(number) ? number : otherwise;
    };
    const [low, high] = [bound(query.min, 0), bound(query.max, Infinity)];
    const { density } = monosem.all;
    return low <= 0 && high === Infinity ? null : (feature) => density[feature] >= low && density[feature] <= high;
  };

  const settle = (query) => {
    const found = state.matches;
    const sort = query.sort || (found ? "found" : "number");
    let order = sort === "found" && found ? Uint32Array.from(found.keys()) : ordered(sort === "found" ? "number" : sort);
    if (found && sort !== "found") order = order.filter((feature) => found.has(feature));
    const within = withinRange(query);
    state.order = within ? order.filter(within) : order;
    state.place = null;
  };

  /** The features before and after one in the list. */
  monosem.beside = (feature) => {
    const order = state.order;
    let at = -1;
    if (order) {
      if (state.place?.feature === feature) at = state.place.at;
      else at = order.indexOf(feature);
      state.place = { feature, at };
    }
    if (at < 0) return [feature > 0 ? feature - 1 : null, feature + 1 < monosem.all.features ? feature + 1 : null];
    return [at > 0 ? order[at - 1] : null, at + 1 < order.length ? order[at + 1] : null];
  };

  const address = (query, changes) => {
    const all = { ...query, ...changes };
    const given = Object.entries(all).filter(([, value]) => value !== "" && value !== null && value !== undefined);
    const text = new URLSearchParams(given).toString();
    return text ? `#/?${text}` : "#/";
  };
  monosem.listAddress = address;

  const row = (feature) => {
    const { density, maximum } = monosem.all;
    const found = state.matches?.get(feature);
    const share = density[feature];
    const why = found?.by === "text" ? el("bdi", { class: "snippet" }, "“", monosem.visible(found.text), "”")
      : found?.by === "token" && !monosem.topTexts(feature).includes(found.text) ? el("span", { class: "why" }, "also ", monosem.token(found.text)) : null;
    return el("li", {}, el("a", { class: "row", href: `#/feature/${feature}` },
      el("span", { class: "number" }, whole(feature)),
      el("span", { class: "what" }, monosem.title(feature), why),
      el("span", { class: "density" }, monosem.density(share)),
      el("span", { class: "meter", "aria-hidden": "true" },
        el("span", { vars: { "--length": share > 0 ? Math.max(0.02, 1 + Math.log10(share) / 7) : 0 } })),
      el("span", { class: "number maximum" }, maximum[feature] > 0 ? monosem.figure(maximum[feature]) : "–")));
  };

  const densityChart = (query) => {
    const { density } = monosem.all;
    const [lowest, bins] = [-7, 28];
    const counts = new Array(bins).fill(0);
    let dead = 0;
    for (const share of density) {
      if (share === 0) dead++;
      else counts[Math.max(0, Math.min(bins - 1, Math.floor((Math.log10(share) - lowest) * 4)))]++;
    }
    const edge = (at) => 10 ** (lowest + at / 4);
    const bars = counts.map((value, at) => ({
      value, label: `${monosem.density(edge(at))} to ${monosem.density(edge(at + 1))}: ${whole(value)} features`,
    }));
    const first = Math.max(0, counts.findIndex((count) => count > 0) - 1);
    const from = Math.floor(first / 4) * 4;
    const ticks = [];
    for (let at = from; at <= bins; at += bins - from > 16 ? 8 : 4) ticks.push({ at: at - from, text: at === bins ? "100 %" : monosem.density(edge(at)).replace(".00", "").replace("0.0100", "0.01").replace("0.100", "0.1").replace("10.0", "10") });
    const chart = monosem.bars(bars.slice(from), ticks, { height: 72, logarithmic: false, name: "Features by density" });
    const toShare = (event) => {
      const box = chart.getBoundingClientRect();
      const at = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
      return from + Math.round(at * (bins - from));
    };
    let start = null;
    chart.addEventListener("pointerdown", (event) => { start = toShare(event); chart.setPointerCapture(event.pointerId); });
    chart.addEventListener("pointerup", (event) => {
      const end = toShare(event);
      if (start === null || start === end) return;
      const [low, high] = [Math.min(start, end), Math.max(start, end)].map((at) => edge(at).toPrecision(3));
      location.hash = address(query, { min: low, max: Number(high) >= 1 ? "" : high, page: "" });
    });
    chart.classList.add("choosable");
    return [chart, dead];
  };

  const rangeForm = (query) => {
    const field = (name, label, placeholder) => el("label", {}, label,
      el("input", { type: "text", inputmode: "decimal", name, value: query[name] ?? "", placeholder, on: {
        change: (event) => { location.hash = address(query, { [name]: event.target.value.trim(), page: "" }); },
      } }));
    return el("div", { class: "range" }, field("min", "from", "0"), field("max", "to", "1"),
      query.min || query.max ? el("a", { href: address(query, { min: "", max: "", page: "" }) }, "any density") : null);
  };

  const about = () => {
    const { description, features } = monosem.all;
    const { sae } = description;
    const text = (value) => (value === null || value === undefined ? null
      : el("bdi", {}, monosem.visible(monosem.cut(typeof value === "object" ? JSON.stringify(value) : String(value)))));
    const rows = [["Model", sae.model_name], ["Hook", sae.hook_name], ["Architecture", sae.architecture], ["k", sae.k],
      ["d_in", sae.d_in], ["Features", whole(features)], ["Tokens", whole(description.tokens)]];
    return el("dl", { class: "about" }, rows.filter(([, value]) => value !== null && value !== undefined)
      .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, text(value)))));
  };

  const panel = (query) => {
    const [chart, dead] = densityChart(query);
    return el("aside", { class: "panel" }, about(),
      el("section", {}, el("h2", {}, "Density"), chart, rangeForm(query),
        el("p", { class: "quiet" }, `${whole(dead)} of ${whole(monosem.all.features)} features are active on no token.`)),
      monosem.all.description.missing.length === 0 ? null
        : el("section", {}, el("h2", {}, "Not in this set"), el("ul", { class: "missing" },
          monosem.all.description.missing.map((words) => el("li", {}, monosem.visible(monosem.cut(words)))))));
  };

  /** Reads all examples for a text, and shows what is found as it goes. */
  const scan = async (query, button) => {
    const key = state.key;
    for (let number = 0; number < monosem.all.chunks; number++) {
      const features = await monosem.store.chunk(number);
      if (state.key !== key || !button.isConnected) return;
      findText(query.q.toLowerCase(), number, features, state.matches);
      button.textContent = `Searching … ${Math.round((100 * number) / monosem.all.chunks)} %`;
    }
    state.scanned = key;
    settle(query);
    monosem.show();
  };

  const pager = (query, page, pages) => (pages < 2 ? null : el("nav", { class: "pager", "aria-label": "Pages" },
    page > 0 ? el("a", { rel: "prev", href: address(query, { page: page || "" }) }, "← Previous") : el("span", {}),
    el("span", { class: "quiet" }, `${whole(page + 1)} of ${whole(pages)}`),
    page + 1 < pages ? el("a", { rel: "next", href: address(query, { page: page + 2 }) }, "Next →") : el("span", {})));

  /** The page of the list. */
  monosem.listView = async (query) => {
    const key = query.q ?? "";
    if (state.key !== key) {
      state.matches = await search(key);
      state.key = key;
      state.scanned = null;
    }
    settle(query);
    const pages = Math.max(1, Math.ceil(state.order.length / PAGE));
    const page = Math.max(0, Math.min(pages - 1, Math.floor(Number(query.page) || 1) - 1));
    const rows = Array.from(state.order.subarray(page * PAGE, (page + 1) * PAGE), row);
    const current = query.sort || (state.matches ? "found" : "number");
    const sorts = [["number", "Number"], ["density", "Most frequent"], ["rare", "Rarest"], ["maximum", "Maximum"]];
    if (state.matches) sorts.unshift(["found", "Best match"]);
    const select = el("select", { on: { change: (event) => { location.hash = address(query, { sort: event.target.value, page: "" }); } } },
      sorts.map(([value, name]) => el("option", { value, selected: value === current }, name)));
    const scanning = state.matches && state.scanned !== key && monosem.all.description.has?.text !== false
      ? el("button", { type: "button", class: "scan", on: { click: (event) => scan(query, event.currentTarget) } }, "Search all examples for this text") : null;
    return el("div", { class: "list" },
      el("div", { class: "results" },
        el("div", { class: "bar-line" },
          el("h1", {}, whole(state.order.length), el("span", { class: "quiet" }, state.order.length === 1 ? " feature" : " features")),
          scanning, el("label", {}, el("span", { class: "quiet" }, "Order "), select)),
        el("div", { class: "columns-line", "aria-hidden": "true" }, el("span", { class: "number" }, "#"),
          el("span", {}, "Label or top tokens"), el("span", { class: "density" }, "Density"), el("span", {}), el("span", { class: "number" }, "Maximum")),
        el("ol", { class: "rows", start: page * PAGE + 1 }, rows),
        rows.length === 0 ? el("p", { class: "note" }, "No feature fits. Numbers, labels and top tokens are searched at once; examples as they are loaded.") : null,
        pager(query, page, pages)),
      panel(query));
  };
}
