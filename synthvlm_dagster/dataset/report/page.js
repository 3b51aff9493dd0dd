"use strict";
(() => {
  const STEP = 24;
  const browser = document.getElementById("browser");
  if (!browser) return;
  const gallery = browser.querySelector(".gallery");
  const words = browser.querySelector("input[type=search]");
  const order = browser.querySelector("select");
  const found = browser.querySelector("output");
  const more = browser.querySelector("button");
  const pairs = Array.from(gallery.children, (figure, place) => ({
    figure,
    place,
    group: figure.dataset.group,
    scores: figure.dataset,
    text: figure.querySelector("p").textContent.toLowerCase(),
  }));
  let limit = STEP;

  const comparisons = {
    rank: (one, other) => one.place - other.place,
    high: (key) => (one, other) => other.scores[key] - one.scores[key] || one.place - other.place,
    low: (key) => (one, other) => one.scores[key] - other.scores[key] || one.place - other.place,
  };

  function show() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const group = browser.querySelector("input[name=group]:checked").value;
    const [key, direction] = order.value.split(" ");
    const fitting = pairs.filter(
      (pair) => (group === "all" || pair.group === group) && wanted.every((word) => pair.text.includes(word)),
    );
    fitting.sort(direction ? comparisons[direction](key) : comparisons.rank);
    const shown = fitting.slice(0, limit).map((pair) => pair.figure);
    gallery.replaceChildren(...shown);
    found.textContent =
      fitting.length === 0
        ? "No pair has these words."
        : `${shown.length} of ${fitting.length} ${fitting.length === 1 ? "pair" : "pairs"}`;
    more.hidden = shown.length === fitting.length;
  }

  function showFromTheStart() {
    limit = STEP;
    show();
  }

  words.addEventListener("input", showFromTheStart);
  order.addEventListener("change", showFromTheStart);
  browser.querySelectorAll("input[name=group]").forEach((choice) => choice.addEventListener("change", showFromTheStart));
  more.addEventListener("click", () => {
    limit += 2 * STEP;
    show();
  });
  browser.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  browser.querySelector("form").hidden = false;
  show();
})();
