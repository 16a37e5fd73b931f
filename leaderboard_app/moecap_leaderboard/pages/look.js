// The frame of every page: light and dark, the menu of a narrow page, and the sign that an answer is awaited.
"use strict";
(() => {
  const root = document.documentElement;

  // ---- light and dark; Gradio follows the system alone and marks its choice with a class
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remembered = (value) => {
    try {
      if (value) localStorage.setItem("moecap-theme", value);
      return localStorage.getItem("moecap-theme");
    } catch {
      return null; // no storage in this browser
    }
  };
  const choice = remembered();
  if (choice === "light" || choice === "dark") root.dataset.theme = choice;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const apply = () => {
    if (!document.body) return;
    if (document.body.classList.contains("dark") !== dark()) document.body.classList.toggle("dark", dark());
    const button = document.getElementById("theme");
    const name = dark() ? "Light" : "Dark";
    if (button && button.textContent !== name) button.textContent = name;
  };
  system.addEventListener("change", apply);

  // ---- an answer is awaited: a line at the top, after a moment; none comes: words that say so
  let awaited = 0;
  const asked = window.fetch;
  const settled = (came) => {
    awaited -= 1;
    if (awaited === 0) delete root.dataset.busy;
    document.getElementById("failed").hidden = came;
    if (!came) for (const place of document.querySelectorAll("[aria-busy]")) place.removeAttribute("aria-busy");
  };
  window.fetch = (...request) => {
    const address = String(request[0] instanceof Request ? request[0].url : request[0]);
    const answer = asked(...request);
    if (!/gradio_api\/(run|queue\/join|upload)/.test(address)) return answer;
    awaited += 1;
    setTimeout(() => { if (awaited > 0) root.dataset.busy = "true"; }, 150);
    answer.then((response) => settled(response.ok), () => settled(false));
    return answer;
  };

  document.addEventListener("DOMContentLoaded", () => {
    apply();
    new MutationObserver(apply).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    document.getElementById("theme").addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      remembered(root.dataset.theme);
      apply();
    });
    const menu = document.getElementById("menu");
    const open = (wide) => {
      menu.setAttribute("aria-expanded", String(wide));
      root.toggleAttribute("data-menu", wide);
    };
    menu.addEventListener("click", () => open(menu.getAttribute("aria-expanded") !== "true"));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && menu.getAttribute("aria-expanded") === "true") {
        open(false);
        menu.focus();
      }
    });
    document.querySelector("a.skip").addEventListener("click", (event) => {
      event.preventDefault(); // the address stays the page's state
      document.getElementById("content").focus();
    });
  });

  // ---- copying what an element holds
  document.addEventListener("click", async (event) => {
    const button = event.target.closest && event.target.closest("button[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
})();
