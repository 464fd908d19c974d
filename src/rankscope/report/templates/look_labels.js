/* Labels: those in the page, and above them what was typed here and is kept by this browser until it is in the page. */
const labelStore = (adapter, embedded) => {
  const key = "rankscope labels " + adapter;
  let lasting = true;
  const readTyped = () => {
    try {
      const found = JSON.parse(localStorage.getItem(key) ?? "{}");
      return Object.entries(found).filter(([slug, text]) => typeof text === "string" && text !== (embedded.get(slug) ?? ""));
    } catch {
      return [];
    }
  };
  const typed = new Map(readTyped());
  const keep = () => {
    try {
      if (typed.size) localStorage.setItem(key, JSON.stringify(Object.fromEntries(typed)));
      else localStorage.removeItem(key);
    } catch {
      lasting = false;
    }
  };
  keep();
  const all = () => Object.fromEntries([...new Map([...embedded, ...typed])].filter(([, text]) => text.trim()));
  return {
    of: (slug) => typed.get(slug) ?? embedded.get(slug) ?? "",
    set: (slug, text) => {
      if (text.trim() === (embedded.get(slug) ?? "")) typed.delete(slug);
      else typed.set(slug, text.trim());
      keep();
    },
    unsaved: () => typed.size,
    isLasting: () => lasting,
    slugs: () => Object.keys(all()),
    file: () => JSON.stringify({ adapter_hash: adapter, labels: all() }, null, 2) + "\n",
  };
};
const downloadText = (text, name) => {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
