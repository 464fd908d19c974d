(() => {
  "use strict";
  const toast = document.querySelector(".toast");
  let timer = 0;
  const say = (text) => {
    toast.textContent = text;
    toast.classList.add("on");
    clearTimeout(timer);
    timer = setTimeout(() => toast.classList.remove("on"), 1600);
  };
  const copyOldWay = (text) => {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
    } catch {
      say(copyOldWay(text) ? "Copied" : "The browser refused to copy");
    }
  };
  const rowsOf = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    const wide = heads.map((head) => head.classList.contains("interval"));
    const names = heads.flatMap((head, i) => {
      const name = head.textContent.trim();
      return wide[i] ? [name, name + " low", name + " high"] : [name];
    });
    const body = [...table.tBodies[0].rows].map((row) =>
      [...row.cells].flatMap(({ dataset }, i) =>
        wide[i] ? [dataset.value, dataset.low, dataset.high] : [dataset.value]));
    return [names, ...body];
  };
  const quoted = (text) => (/[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text);
  const csv = (rows) => rows.map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
  const tsv = (rows) => rows.map((row) => row.map((text) => text.replace(/[\t\n]/g, " ")).join("\t")).join("\n");
  const download = (text, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name.replace(/[^\w.-]+/g, "_") + ".csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  document.querySelectorAll(".js-only").forEach((element) => { element.hidden = false; });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.copy !== undefined) copy(button.dataset.copy);
    const table = button.closest(".table-part")?.querySelector("table");
    if (table && button.dataset.table === "copy") copy(tsv(rowsOf(table)));
    if (table && button.dataset.table === "csv") download(csv(rowsOf(table)), button.dataset.name);
  });
  const folded = [];
  addEventListener("beforeprint", () => document.querySelectorAll("details:not([open])").forEach((element) => {
    element.open = true;
    folded.push(element);
  }));
  addEventListener("afterprint", () => folded.splice(0).forEach((element) => { element.open = false; }));
})();
