// What the report knows: the overview at once, and the rest file by file, as scripts that call the functions below.
"use strict";

{
  const bytes = (base64) => {
    const text = atob(base64);
    const array = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at++) array[at] = text.charCodeAt(at);
    return array.buffer;
  };
  const waiting = new Map();
  const chunks = new Map();
  const listed = new Map();
  const KEPT_CHUNKS = 400;

  /** Loads a script once; what it adds resolves the promise. */
  const load = (path) => {
    if (waiting.has(path)) return waiting.get(path).promise;
    const entry = {};
    entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    waiting.set(path, entry);
    const script = document.createElement("script");
    script.src = path;
    script.onload = () => {
      script.remove();
      // Without effect if the script has added what it should.
      entry.reject(new Error(`${path} is damaged`));
    };
    script.onerror = () => {
      script.remove();
      waiting.delete(path);
      entry.reject(new Error(`${path} cannot be read`));
    };
    document.head.append(script);
    return entry.promise;
  };
  const loaded = (path, value) => waiting.get(path)?.resolve(value);
  const padded = (number, digits) => String(number).padStart(digits, "0");
  const chunkPath = (number) => `data/features/${padded(Math.floor(number / 1000), 3)}/${padded(number, 6)}.js`;

  monosem.addOverview = (json) => {
    const overview = JSON.parse(json);
    const { description } = overview;
    monosem.all = {
      description,
      features: description.sae.features,
      chunk: overview.chunk,
      chunks: Math.ceil(description.sae.features / overview.chunk),
      hasNeighbors: overview.has_neighbors,
      hasLogits: overview.has_logits,
      density: new Float32Array(bytes(overview.density)),
      maximum: new Float32Array(bytes(overview.maximum)),
      top: new (overview.texts.length < 0xffff ? Uint16Array : Uint32Array)(bytes(overview.top)),
      texts: overview.texts,
      map: overview.map === null ? null : new Uint16Array(bytes(overview.map)),
      labels: new Map(),
    };
    new Uint32Array(bytes(overview.labelled)).forEach((feature, at) =>
      monosem.all.labels.set(feature, overview.labels[at]),
    );
  };

  monosem.addChunk = (number, json) => {
    const features = JSON.parse(json);
    chunks.set(number, features);
    loaded(chunkPath(number), features);
    for (const oldest of chunks.keys()) {
      if (chunks.size <= KEPT_CHUNKS) break;
      chunks.delete(oldest);
      waiting.delete(chunkPath(oldest));
    }
  };

  monosem.addTokens = (json) => {
    const tokens = JSON.parse(json);
    const counts = new Uint32Array(bytes(tokens.counts));
    const starts = new Float64Array(counts.length + 1);
    counts.forEach((count, at) => {
      starts[at + 1] = starts[at] + count;
    });
    loaded("data/tokens.js", {
      texts: tokens.texts,
      folded: tokens.texts.map(monosem.folded),
      counts,
      starts,
      perFile: tokens.listed_per_file,
    });
  };

  monosem.addListed = (number, json) => {
    const features = new Uint32Array(bytes(JSON.parse(json)));
    listed.set(number, features);
    loaded(`data/tokens/${padded(number, 5)}.js`, features);
  };

  monosem.store = {
    /** What is shown of a feature. */
    async feature(feature) {
      const { chunk } = monosem.all;
      const number = Math.floor(feature / chunk);
      const features = chunks.get(number) ?? (await load(chunkPath(number)));
      return features[feature % chunk];
    },
    /** All features of a file. */
    chunk: (number) => load(chunkPath(number)),
    /** The files that are loaded. */
    loadedChunks: () => [...chunks.entries()],
    /** All tokens. */
    tokens: () => load("data/tokens.js"),
    /** The features that respond most to the token at a place of that list, the first `limit` of them. */
    async listed(tokens, at, limit) {
      const first = tokens.starts[at];
      const end = first + Math.min(tokens.counts[at], limit);
      const found = [];
      for (let from = first; from < end;) {
        const number = Math.floor(from / tokens.perFile);
        const features = await load(`data/tokens/${padded(number, 5)}.js`);
        const to = Math.min(end, (number + 1) * tokens.perFile);
        found.push(...features.subarray(from - number * tokens.perFile, to - number * tokens.perFile));
        from = to;
      }
      return found;
    },
  };
}

/** The first of a feature's top tokens, which stand for it where there is no label. */
monosem.topTexts = (feature) => {
  const { top, texts, features } = monosem.all;
  const each = top.length / features;
  return Array.from(top.subarray(feature * each, (feature + 1) * each), (at) => texts[at]).filter(
    (text) => text !== undefined,
  );
};
