// Live refresh: every element with data-live is replaced by the same element of a fresh copy of the page.
(() => {
  const every = 2000;
  const refresh = async () => {
    const here = document.querySelectorAll("[data-live]");
    if (here.length && !document.hidden) {
      try {
        const answer = await fetch(location.href, { headers: { "X-Live": "1" } });
        if (answer.ok) {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
          for (const old of here) {
            const next = fresh.querySelector(`[data-live="${CSS.escape(old.dataset.live)}"]`);
            if (next && next.innerHTML !== old.innerHTML) old.innerHTML = next.innerHTML;
          }
        }
        document.body.classList.remove("stale");
      } catch (error) {
        document.body.classList.add("stale");
      }
    }
    setTimeout(refresh, every);
  };
  setTimeout(refresh, every);
  const box = document.querySelector("textarea[name=query]");
  if (box) box.addEventListener("keydown", (key) => { if (key.key === "Enter" && (key.ctrlKey || key.metaKey)) box.form.submit(); });
})();
