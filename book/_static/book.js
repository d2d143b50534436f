"use strict";
/* What is wider than the page scrolls inside itself. Here it says so: its edge fades where there is more (book.css), and
   the keyboard reaches it. */
{
  const WIDE = "table.table, .pst-scrollable-table-container, pre, .text_html, div.math > mjx-container";

  const look = (one) => {
    const more = one.scrollWidth - one.clientWidth;
    const scrolls = more > 1 && getComputedStyle(one).overflowX !== "visible";
    one.classList.toggle("more-left", scrolls && one.scrollLeft > 1);
    one.classList.toggle("more-right", scrolls && one.scrollLeft < more - 1);
    if (scrolls && !one.hasAttribute("tabindex")) one.tabIndex = 0;
  };

  window.addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    const sizes = new ResizeObserver((changed) => changed.forEach((entry) => look(entry.target)));
    for (const one of document.querySelectorAll(WIDE.replaceAll(/(^|, )/g, "$1.bd-article "))) {
      one.addEventListener("scroll", () => look(one), { passive: true });
      sizes.observe(one);
    }
  });
}
