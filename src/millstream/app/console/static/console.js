// Live refresh: every element with data-live takes over what the same element of a fresh copy of the page says. Only what differs
// is touched, so that a place scrolled to, a selection, an open detail and the focus stay.
(() => {
  const every = 2000;
  const attributes = (old, next) => {
    for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  };
  const morph = (old, next) => {
    if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName) return old.replaceWith(document.importNode(next, true));
    if (old.nodeType !== Node.ELEMENT_NODE) { if (old.data !== next.data) old.data = next.data; return; }
    attributes(old, next);
    const [before, after] = [[...old.childNodes], [...next.childNodes]];
    after.forEach((node, i) => before[i] ? morph(before[i], node) : old.append(document.importNode(node, true)));
    before.slice(after.length).forEach((node) => node.remove());
  };
  const refresh = async () => {
    const here = document.querySelectorAll("main [data-live]");
    if (!here.length || document.hidden) return;
    try {
      const answer = await fetch(location.href, { headers: { "X-Live": "1" } });
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const old of document.querySelectorAll("[data-live]")) {
        const next = fresh.querySelector(`[data-live="${CSS.escape(old.dataset.live)}"]`);
        if (next) morph(old, next);
      }
      document.body.classList.remove("stale");
    } catch (error) {
      document.body.classList.add("stale");
    }
  };
  // The pause follows the answer, and is longer when answers are slow: a page costs the project at most a fifth of a core.
  const round = async () => {
    const begun = performance.now();
    await refresh();
    setTimeout(round, Math.max(every, 4 * (performance.now() - begun)));
  };
  setTimeout(round, every);
  if (!document.querySelector("main [data-live]")) document.body.classList.add("still");

  const box = document.querySelector("textarea[name=query]");
  if (box) box.addEventListener("keydown", (key) => { if (key.key === "Enter" && (key.ctrlKey || key.metaKey)) box.form.submit(); });

  document.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

  // The graph: the ways into and out of a box stand out while it is pointed at or has the focus.
  const light = (event) => {
    const node = event.target.closest?.("a[data-node]");
    for (const edge of document.querySelectorAll("svg.graph .edge")) {
      edge.classList.toggle("lit", !!node && [edge.dataset.from, edge.dataset.to].includes(node.dataset.node));
    }
  };
  for (const kind of ["mouseover", "focusin"]) document.querySelector(".scroll[data-live=graph]")?.addEventListener(kind, light);
})();
