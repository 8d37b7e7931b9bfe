// Which features the list has, and in which order.
"use strict";

{
  const MOST_TOKENS = 60;
  const MOST_OF_A_TOKEN = 5000;
  const MOST_TEXTS = 2000;
  const orders = new Map();

  /** What the list shows: in `matches` a feature has what it was found by. */
  const state = { order: null, matches: null, scanned: null, key: null, asked: null };

  /** All features, the largest value first. Values are not negative, so their bits have their order: a radix sort. */
  const descending = (values) => {
    const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
    let order = Uint32Array.from({ length: values.length }, (_, feature) => feature);
    for (const shift of [0, 16]) {
      const starts = new Uint32Array(65537);
      const keyOf = (feature) => 0xffff - ((bits[feature] >>> shift) & 0xffff);
      for (const feature of order) starts[keyOf(feature) + 1]++;
      for (let key = 0; key < 65536; key++) starts[key + 1] += starts[key];
      const sorted = new Uint32Array(order.length);
      for (const feature of order) sorted[starts[keyOf(feature)]++] = feature;
      order = sorted;
    }
    return order;
  };

  const ordered = (sort) => {
    if (!orders.has(sort)) {
      const { features, density, maximum } = monosem.all;
      const values = { density, rare: density, maximum }[sort];
      const order = values ? descending(values) : Uint32Array.from({ length: features }, (_, feature) => feature);
      orders.set(sort, sort === "rare" ? order.reverse() : order);
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

  /** The feature that a text is the number of, with or without commas; null if it is of none. */
  monosem.numberOf = (text) => {
    const digits = text.trim().replace(/(?<=\d)[,_](?=\d)/g, "");
    return /^\d+$/.test(digits) && Number(digits) < monosem.all.features ? Number(digits) : null;
  };

  /** Finds the features of a query; null without one. */
  const search = async (query) => {
    if (query.trim() === "") return null;
    const matches = new Map();
    const folded = query.toLowerCase();
    const number = monosem.numberOf(query);
    if (number !== null) matches.set(number, { by: "number" });
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
    let order =
      sort === "found" && found ? Uint32Array.from(found.keys()) : ordered(sort === "found" ? "number" : sort);
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

  /** Reads all examples for a text, and shows what is found as it goes. */
  const scan = async (query, button) => {
    const key = state.key;
    button.disabled = true;
    try {
      for (let number = 0; number < monosem.all.chunks && state.matches.size <= MOST_TEXTS; number++) {
        const features = await monosem.store.chunk(number);
        if (state.key !== key || !button.isConnected) return;
        findText(query.q.toLowerCase(), number, features, state.matches);
        button.textContent = `Searching … ${Math.round((100 * number) / monosem.all.chunks)} %`;
      }
    } catch (error) {
      button.textContent = error.message;
      return;
    }
    state.scanned = key;
    settle(query);
    monosem.show();
  };

  /** The features of a query, and what each was found by; null for those without one. */
  monosem.found = async (query) => {
    const key = query.q ?? "";
    state.asked = key;
    if (state.key !== key) {
      const matches = await search(key);
      // A later query may have been asked meanwhile.
      if (state.asked === key) Object.assign(state, { matches, key, scanned: null });
    }
    settle(query);
    return { order: state.order, matches: state.matches, isWhole: state.scanned === key };
  };
  monosem.scan = scan;
}
