/* One direction: facts, histogram, shaded examples, lens, causal checks. */
const KINDS = [
  ["positive", "Largest values", "where it is strongest on the positive side"],
  ["negative", "Most negative values", "where it is strongest on the negative side"],
  ["decile", "Spread over all values", "drawn from each tenth of its values"],
  ["random", "Random tokens", "drawn whatever the value"],
  ["near zero", "Values near zero", "where it says nothing"],
];
const STROKES = ["solid", "dashed", "dotted"].flatMap((style) => ["c3", "c4", "c5", "ink", "c6", "c2"].map((tint) => `2px ${style} var(--${tint})`));
const WEAKEST = 0.02, STRONGEST = 62;

/* What stands under tokens: a choice gives a function (example, place) -> name or null. */
const sectionAt = (data, example, at) => data.sections[data.standings[example.standings[at]][0]] ?? null;
const surfaceAt = (data, example, at) => data.surfaces[data.standings[example.standings[at]][1]] ?? null;
const tagged = (data, example, at, tag) => ((data.standings[example.standings[at]][2] ?? 0) >>> tag) & 1;
const overlays = (data) => {
  const sections = (example, at) => sectionAt(data, example, at);
  const surfaces = (example, at) => {
    const name = surfaceAt(data, example, at);
    return name === "none" ? null : name;
  };
  const tags = data.tags.map((name, tag) => ["tag " + name, "Tag " + name, (example, at) => (tagged(data, example, at, tag) ? name : null)]);
  const found = [["sections", "Sections", sections]];
  if (data.surfaces.length) found.push(["surfaces", "Surface roles", surfaces]);
  return [...found, ...tags];
};
/* The role that a score names (`tag:on_path`, `surface:step`, `section:trace`), told at a token. */
const roleAt = (data, role) => {
  const colon = role.indexOf(":");
  const [sort, name] = [role.slice(0, colon), role.slice(colon + 1)];
  if (sort === "tag") {
    const tag = data.tags.indexOf(name);
    return (example, at) => (tag >= 0 && tagged(data, example, at, tag) ? role : null);
  }
  const nameAt = sort === "surface" ? surfaceAt : sectionAt;
  return (example, at) => (nameAt(data, example, at) === name ? role : null);
};

const histogram = (direction) => {
  const { edges, counts, norm } = direction;
  const [low, high, most] = [edges[0], edges.at(-1), Math.max(...counts, 1)];
  const [width, height, span] = [320, 96, high - low || 1];
  const x = (value) => ((value - low) / span) * width;
  const bars = counts.map((count, i) => {
    const tall = (Math.log1p(count) / Math.log1p(most)) * height;
    const bar = { x: x(edges[i]) + 0.4, y: height - tall, width: Math.max(x(edges[i + 1]) - x(edges[i]) - 0.8, 0.4), height: tall, class: edges[i] + edges[i + 1] < 0 ? "down" : "up" };
    return draw("rect", bar, draw("title", {}, `${count.toLocaleString("en")} tokens from ${short(edges[i])} to ${short(edges[i + 1])}`));
  });
  const zero = low < 0 && high > 0;
  const label = (value, anchor) => draw("text", { x: x(value), y: height + 15, "text-anchor": anchor }, short(value));
  const away = zero && Math.min(x(0), width - x(0)) > 34;
  return make("figure", { class: "histogram" },
    draw("svg", { viewBox: `0 0 ${width} ${height + 20}`, role: "img", "aria-label": `Histogram of values from ${short(low)} to ${short(high)}; most in one bin: ${most}` },
      ...bars, draw("line", { x1: 0, x2: width, y1: height, y2: height }), zero && draw("line", { x1: x(0), x2: x(0), y1: 0, y2: height, class: "zero" }),
      label(low, "start"), away && label(0, "middle"), label(high, "end")),
    make("figcaption", {}, `${norm ? "Norms" : "Values"} over all tokens; height is the logarithm of the count, at most ${most.toLocaleString("en")}.`));
};

const readout = (data, example, at, norm) => {
  const [section, surface] = [sectionAt(data, example, at), surfaceAt(data, example, at)];
  const names = [section && `section ${section}`, surface !== "none" && surface].filter(Boolean);
  const tags = data.tags.filter((_, tag) => tagged(data, example, at, tag));
  return [
    make("span", { class: "where" }, `item ${example.item}, token ${example.start + at}`), " ",
    make("bdi", { class: "word" }, seen(data.words[example.words[at]])), " ",
    make("b", {}, norm ? short(example.values[at]) : signed(example.values[at])),
    names.length + tags.length ? ` ${[...names, ...tags].join(" · ")}` : "",
  ];
};

const exampleRow = (data, direction, example, top, number) => {
  const marked = example.at - example.start;
  const tokens = example.values.map((value, at) => {
    const weight = Math.abs(value) / top;
    const token = make("span", { class: "t" + (weight < WEAKEST ? "" : value < 0 ? " down" : " up") + (at === marked ? " marked" : ""), "data-at": at }, seen(data.words[example.words[at]]));
    if (weight >= WEAKEST) token.style.setProperty("--w", (weight * STRONGEST).toFixed(1) + "%");
    return token;
  });
  const line = make("p", { class: "tokens", tabindex: "0", role: "group", "aria-label": `Example ${number}; left and right arrows read values` }, ...tokens);
  const told = make("p", { class: "readout" });
  const row = make("li", { class: "example" }, line, told);
  const show = (at) => {
    tokens.forEach((token, i) => token.classList.toggle("read", i === at && at !== marked));
    told.replaceChildren(...readout(data, example, at, direction.norm));
  };
  let current = marked;
  show(marked);
  line.addEventListener("mouseover", ({ target }) => { if (target.dataset.at) show(Number(target.dataset.at)); });
  line.addEventListener("mouseleave", () => show(document.activeElement === line ? current : marked));
  line.addEventListener("focus", () => told.setAttribute("aria-live", "polite"));
  line.addEventListener("blur", () => { told.removeAttribute("aria-live"); current = marked; show(marked); });
  line.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    current = Math.min(Math.max(current + step, 0), tokens.length - 1);
    show(current);
  });
  return { row, tokens, example };
};

const examplesPart = (data, direction, overlay) => {
  const top = Math.max(...direction.examples.flatMap((example) => example.values.map(Math.abs)), 1e-30);
  const shown = [];
  const groups = KINDS.map(([kind, title, why]) => {
    const found = direction.examples.filter((example) => example.kind === kind);
    if (!found.length) return null;
    const rows = found.map((example) => exampleRow(data, direction, example, top, shown.push(null)));
    shown.splice(-rows.length, rows.length, ...rows);
    return make("section", { class: "kind" }, make("h5", {}, title, make("small", {}, ` ${found.length}, ${why}`)), make("ol", {}, ...rows.map(({ row }) => row)));
  });
  const choices = overlays(data);
  const legend = make("ul", { class: "legend", "aria-label": "Underlines" });
  const select = make("select", { id: "overlay" },
    direction.role && make("option", { value: "best" }, `best role: ${direction.role}`), ...choices.map(([value, title]) => make("option", { value }, title)), make("option", { value: "" }, "nothing"));
  const underline = () => {
    const told = select.value === "best" ? roleAt(data, direction.role) : choices.find(([value]) => value === select.value)?.[2] ?? (() => null);
    const strokes = new Map();
    for (const { tokens, example } of shown) {
      tokens.forEach((token, at) => {
        const name = told(example, at);
        if (name !== null && !strokes.has(name)) strokes.set(name, STROKES[strokes.size % STROKES.length]);
        token.style.borderBottom = name === null ? "" : strokes.get(name);
      });
    }
    legend.replaceChildren(...[...strokes].map(([name, stroke]) => {
      const sample = make("span", { class: "under-sample" });
      sample.style.borderBottom = stroke;
      return make("li", {}, sample, name);
    }));
    if (!strokes.size && select.value) legend.replaceChildren(make("li", {}, "no token shown here has it"));
  };
  select.value = [...select.options].some(({ value }) => value === overlay.value) ? overlay.value : select.options[0].value;
  select.addEventListener("change", () => { overlay.value = select.value; underline(); });
  underline();
  const scale = make("ul", { class: "legend", "aria-label": "Shading" },
    ...(direction.norm ? [["up", "norm"]] : [["up", "positive"], ["down", "negative"]]).map(([side, name]) => make("li", {}, make("span", { class: `shade ${side}` }), name)),
    make("li", { class: "quiet" }, `darkest: ${short(top)}`), make("li", {}, make("span", { class: "shade marked" }), "the token it was chosen for"));
  return make("section", {}, make("h4", {}, "Examples"),
    direction.examples.length ? make("div", { class: "bar" }, scale, make("label", { class: "inline" }, "Underline", select)) : make("p", { class: "quiet" }, "No examples were kept."), direction.examples.length ? legend : null, ...groups);
};

const lensPart = (lens) => {
  const missing = lens ? lens.missing : ["No lens was computed for this direction."];
  const sides = (lens ? lens.sides : []).map(([title, rows]) => make("table", { class: "lens" }, make("caption", {}, title),
    make("tbody", {}, ...rows.map(([word, logit]) => make("tr", {}, make("td", {}, make("bdi", { class: "word" }, seen(word))), make("td", { class: "number" }, signed(logit)))))));
  const why = "Writes: change of a token's logit at the direction's root mean square value, were nothing in between. Reads: the value at a token's normalised embedding.";
  return make("section", {}, make("h4", {}, "Logit lens"), sides.length ? make("p", { class: "quiet" }, why) : null,
    make("div", { class: "lenses" }, ...sides), ...missing.map((text) => make("p", { class: "quiet" }, text)));
};

/* Before and after with what differs marked: what stands between the longest common start and end. */
const changed = (before, after) => {
  const [a, b] = [[...before], [...after]];
  let from = 0;
  while (from < a.length && from < b.length && a[from] === b[from]) from += 1;
  let back = 0;
  while (back < a.length - from && back < b.length - from && a.at(-1 - back) === b.at(-1 - back)) back += 1;
  const cut = (marks, name) => {
    const [start, middle, end] = [marks.slice(0, from), marks.slice(from, marks.length - back), marks.slice(marks.length - back)].map((part) => readable(part.join("")));
    return [start, middle && make(name, {}, middle), end];
  };
  return [cut(a, "del"), cut(b, "ins")];
};
const factsList = (facts) => make("dl", { class: "facts" }, ...facts.map(([name, text, why]) => make("div", { title: why || null }, make("dt", {}, name), make("dd", {}, text))));
const causalPart = (checks) => make("section", {}, make("h4", {}, "Causal checks"),
  checks.length ? null : make("p", { class: "quiet" }, "This direction was neither scaled nor steered."),
  ...checks.map(({ title, facts, texts }) => make("div", { class: "causal" }, make("h5", {}, title), factsList(facts),
    ...texts.map(([item, prompt, before, after]) => {
      const [was, is] = changed(before, after);
      return make("details", {}, make("summary", {}, `Item ${item}: ${before === after ? "same text" : "other text"}`),
        make("dl", { class: "texts" }, ...[["Prompt", [readable(prompt)]], ["Before", was], ["After", is]].map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", { dir: "auto" }, ...text.filter(Boolean))))));
    }))));

const detailOf = (data, direction, labels, overlay, onLabel) => {
  const input = make("input", { type: "text", id: "label", maxlength: "200", placeholder: "what is this direction for?", spellcheck: "true" });
  input.value = labels.of(direction.slug);
  input.addEventListener("input", () => onLabel(direction.slug, input.value));
  return [
    make("header", {}, make("h3", { id: "chosen", tabindex: "-1" }, direction.slug),
      make("span", { class: "moves" }, make("button", { type: "button", "data-step": "-1", "aria-label": "Previous direction" }, "‹ Previous"), make("button", { type: "button", "data-step": "1", "aria-label": "Next direction" }, "Next ›"), make("button", { type: "button", "data-copy": location.href.split("#")[0] + "#d=" + encodeURIComponent(direction.slug) }, "Copy link"), make("button", { type: "button", class: "to-list", "data-list": true }, "List"))),
    make("p", { class: "quiet site" }, `${direction.name} · ${direction.site}`),
    make("label", { class: "label" }, "Label", input),
    make("div", { class: "two" }, factsList(direction.facts), direction.counts.length ? histogram(direction) : null),
    examplesPart(data, direction, overlay), lensPart(direction.lens), causalPart(direction.causal),
  ];
};
