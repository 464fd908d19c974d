/* The explorer: list, filters, keys and links over the embedded data. */
const [first, ...rest] = byId("look-data").textContent.split("\n");
const data = JSON.parse(first);
const directions = data.directions;
const placeOf = new Map(directions.map(({ slug }, i) => [slug, i]));
const whole = (direction) => ({ ...direction, ...JSON.parse(rest[placeOf.get(direction.slug)]) });
const bySlug = new Map(directions.map((direction) => [direction.slug, direction]));
const labels = labelStore(data.adapter, new Map(Object.entries(data.labels)));
const overlay = { value: "best" };
const [explorer, list, detail, help] = ["explorer", "rows", "detail", "help"].map(byId);
const fields = Object.fromEntries(["q", "sort", "kind", "layer", "role", "only"].map((name) => [name, byId("f-" + name)]));
let chosen = null;
let visible = [];

const hasRoles = directions.some(({ role }) => role !== null);
const hasKl = directions.some(({ kl }) => kl !== null);
const falling = (key) => (a, b) => (b[key] ?? -Infinity) - (a[key] ?? -Infinity) || 0;
const SORTS = [
  ["sigma", "singular value", falling("sigma")],
  hasKl && ["kl", "KL when taken out", falling("kl")],
  hasRoles && ["auroc", "AUROC of best role", falling("auroc")],
  ["rms", "root mean square value", falling("rms")],
  ["layer", "layer", (a, b) => (a.layer ?? Infinity) - (b.layer ?? Infinity) || 0],
].filter(Boolean);
const ONLY = [
  ["", "all", () => true],
  hasKl && ["acts", "acts: more than a random shift", ({ acts }) => acts],
  hasRoles && ["tells", "tells a role: q at most 5 %", ({ tells }) => tells],
  ["labelled", "labelled", ({ slug }) => labels.of(slug) !== ""],
  ["unlabelled", "not labelled", ({ slug }) => labels.of(slug) === ""],
].filter(Boolean);
const options = (select, pairs) => select.append(...pairs.map(([value, text]) => make("option", { value }, text)));
const valuesOf = (key) => [...new Set(directions.map((direction) => direction[key]))].filter((value) => value !== null);
options(fields.sort, SORTS);
options(fields.only, ONLY);
options(fields.kind, [["", "all"], ...valuesOf("kind").map((kind) => [kind, kind])]);
options(fields.layer, [["", "all"], ...valuesOf("layer").sort((a, b) => a - b).map((layer) => [layer, layer])]);
options(fields.role, [["", "all"], ...valuesOf("role").sort().map((role) => [role, role])]);
fields.role.closest("label").hidden = !hasRoles;

/* Text that a search looks through, as it is seen, made when somebody searches first. */
const texts = new Map();
const textOf = (direction) => {
  if (!texts.has(direction.slug)) {
    const shown = whole(direction).examples.map((example) => example.words.map((word) => seen(data.words[word])).join("")).join("\n");
    texts.set(direction.slug, `${direction.slug}\n${direction.site}\n${direction.role ?? ""}\n${shown}`.toLowerCase());
  }
  return texts.get(direction.slug);
};

const rowOf = new Map(directions.map((direction) => {
  const cells = [
    make("span", { class: "slug" }, direction.slug), make("span", { class: "number" }, short(direction.sigma)),
    make("span", { class: "number" }, direction.auroc === null ? "–" : direction.auroc.toFixed(2)),
    make("span", { class: "number" + (direction.acts ? " acts" : "") }, direction.kl === null ? "–" : direction.below ? "< res." : direction.kl_text),
    make("span", { class: "more" }, make("span", { class: "called" }), make("span", { class: "role" }, direction.role ?? "")),
  ];
  const spoken = `${direction.slug}, singular value ${short(direction.sigma)}` + (direction.role ? `, ${direction.role} AUROC ${direction.auroc.toFixed(2)}` : "") + (direction.kl === null ? "" : `, KL ${direction.kl_text}`);
  const link = make("a", { href: "#d=" + encodeURIComponent(direction.slug), "data-slug": direction.slug, tabindex: "-1", title: spoken }, ...cells);
  return [direction.slug, make("li", {}, link)];
}));
const linkOf = (slug) => rowOf.get(slug)?.firstChild;
const showLabel = (slug) => { if (rowOf.has(slug)) rowOf.get(slug).querySelector(".called").textContent = labels.of(slug); };
labels.slugs().forEach(showLabel);

const tellLabels = () => {
  const [n, unsaved] = [labels.slugs().length, labels.unsaved()];
  const gone = labels.slugs().filter((slug) => !bySlug.has(slug)).length;
  const told = [n === 1 ? "1 label" : `${n} labels`];
  if (gone) told.push(`${gone} of directions that are no longer here, which are kept`);
  if (unsaved) told.push(`${unsaved} ${labels.isLasting() ? "kept by this browser only" : "that this browser forgets when the page is closed"}: save labels, put ${LABELS_FILE} into the folder of this page, and the next look has them`);
  byId("label-note").textContent = n || unsaved ? told.join("; ") + "." : "";
  byId("save").hidden = !(n || unsaved);
};

/* The address: #d=SLUG and the filters that are set. */
const address = () => {
  const given = new URLSearchParams();
  if (chosen) given.set("d", chosen);
  for (const [name, field] of Object.entries(fields)) if (field.value && field.value !== (name === "sort" ? SORTS[0][0] : "")) given.set(name, field.value);
  return "#" + given;
};
const asked = () => (location.hash.includes("=") ? new URLSearchParams(location.hash.slice(1)) : null);
const setFields = (given) => {
  for (const [name, field] of Object.entries(fields)) {
    field.value = given.get(name) ?? "";
    if (field.selectedIndex === -1) field.selectedIndex = 0;
  }
};

const refresh = () => {
  const phrase = fields.q.value.trim().toLowerCase();
  const only = ONLY.find(([name]) => name === fields.only.value)[2];
  const matches = (direction) =>
    (!fields.kind.value || direction.kind === fields.kind.value) && (!fields.layer.value || String(direction.layer) === fields.layer.value) &&
    (!fields.role.value || direction.role === fields.role.value) && only(direction) &&
    (!phrase || textOf(direction).includes(phrase) || labels.of(direction.slug).toLowerCase().includes(phrase));
  visible = directions.filter(matches).sort(SORTS.find(([name]) => name === fields.sort.value)[2]);
  list.replaceChildren(...visible.map(({ slug }) => rowOf.get(slug)));
  byId("none").hidden = visible.length > 0;
  byId("clear").hidden = !["q", "kind", "layer", "role", "only"].some((name) => fields[name].value);
  byId("count").textContent = visible.length === directions.length ? `${directions.length} directions` : `${visible.length} of ${directions.length} directions`;
  markChosen();
};
const markChosen = () => {
  list.querySelectorAll("a[aria-current], a[tabindex='0']").forEach((link) => { link.removeAttribute("aria-current"); link.tabIndex = -1; });
  const link = linkOf(chosen);
  link?.setAttribute("aria-current", "true");
  const stop = link?.isConnected ? link : list.querySelector("a");
  if (stop) stop.tabIndex = 0;
};
/* Scrolls the list alone, never the page. */
const reveal = (link) => {
  const frame = list.parentElement;
  const [row, box] = [link.getBoundingClientRect(), frame.getBoundingClientRect()];
  if (row.top < box.top + 32) frame.scrollTop -= box.top + 32 - row.top;
  if (row.bottom > box.bottom) frame.scrollTop += row.bottom - box.bottom + 8;
};
const show = (slug) => {
  chosen = slug;
  detail.replaceChildren(...detailOf(data, whole(bySlug.get(slug)), labels, overlay, (of, text) => { labels.set(of, text); showLabel(of); tellLabels(); }));
  markChosen();
  const link = linkOf(slug);
  if (link.isConnected && link !== list.querySelector("a")) reveal(link);
  else list.parentElement.scrollTop = 0;
};
const isStacked = () => getComputedStyle(explorer.querySelector(".split")).gridTemplateColumns.split(" ").length === 1;
const bring = (element) => element.scrollIntoView({ block: "start" });
const isAway = (element) => {
  const { top } = element.getBoundingClientRect();
  return top < 0 || top > innerHeight - 160;
};
const go = (slug, remember) => {
  show(slug);
  history[remember ? "pushState" : "replaceState"](null, "", address());
  if (isAway(detail)) bring(isStacked() && !list.contains(document.activeElement) ? detail : explorer);
};
const step = (by) => {
  if (!visible.length) return;
  const at = visible.findIndex(({ slug }) => slug === chosen);
  const next = at === -1 ? 0 : Math.min(Math.max(at + by, 0), visible.length - 1);
  const inList = list.contains(document.activeElement);
  go(visible[next].slug, false);
  if (inList) linkOf(chosen).focus({ preventScroll: true });
};
const enter = () => {
  byId("chosen").focus({ preventScroll: true });
  if (isStacked()) bring(detail);
};
const toList = () => {
  const stop = list.querySelector("a[tabindex='0']");
  stop?.focus({ preventScroll: true });
  if (stop) reveal(stop);
  if (isStacked() || explorer.getBoundingClientRect().top < 0) bring(explorer);
};

const arrive = (isFirst) => {
  const given = asked();
  if (!given && !isFirst && location.hash) return;
  setFields(given ?? new URLSearchParams());
  refresh();
  const slug = given?.get("d");
  const stays = given && !slug && visible.some((one) => one.slug === chosen);
  show(bySlug.has(slug) ? slug : stays ? chosen : (visible[0] ?? directions[0]).slug);
  if (slug && !bySlug.has(slug)) byId("count").textContent += `; there is none called ${slug}`;
  if (given) bring(explorer);
};

list.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(link.dataset.slug, true);
  enter();
});
detail.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (!button) return;
  if (button.dataset.step) {
    step(Number(button.dataset.step));
    detail.querySelector(`[data-step="${button.dataset.step}"]`).focus({ preventScroll: true });
  }
  if (button.dataset.list !== undefined) toList();
});
const changedFilter = () => { refresh(); history.replaceState(null, "", address()); };
Object.values(fields).forEach((field) => field.addEventListener("input", changedFilter));
explorer.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
byId("clear").addEventListener("click", () => {
  for (const name of ["q", "kind", "layer", "role", "only"]) fields[name].value = "";
  changedFilter();
  fields.q.focus();
});
byId("save").addEventListener("click", () => downloadText(labels.file(), LABELS_FILE));
byId("help-open").addEventListener("click", () => help.showModal());

const onKey = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const typing = event.target.closest("input, select, textarea");
  const here = list.contains(event.target);
  if (event.key === "Escape") {
    if (typing || detail.contains(event.target)) { event.preventDefault(); toList(); }
    return;
  }
  if (typing) {
    if (event.key === "Enter" && event.target === fields.q) toList();
    return;
  }
  const actions = {
    j: () => step(1), k: () => step(-1), l: () => byId("label")?.focus(), "/": () => fields.q.focus(), "?": () => help.showModal(),
    ...(here ? { ArrowDown: () => step(1), ArrowUp: () => step(-1), Home: () => step(-directions.length), End: () => step(directions.length) } : {}),
  };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
};
document.addEventListener("keydown", onKey);
addEventListener("hashchange", () => arrive(false));

document.querySelectorAll("svg a[href^='#d='], svg a[href^='#kind=']").forEach((cell) => cell.append(draw("title", {}, [...new URLSearchParams(cell.getAttribute("href").slice(1)).values()].join(", layer "))));
explorer.hidden = directions.length === 0;
if (directions.length) arrive(true);
tellLabels();
performance.mark("rankscope-look-ready");
