(function () {
  "use strict";
  document.documentElement.classList.remove("no-js");

  // Sorting: every header of a table marked data-sortable becomes a button.
  function valueOf(row, index) {
    var cell = row.cells[index];
    if (!cell) { return ""; }
    return cell.hasAttribute("data-value") ? cell.getAttribute("data-value") : cell.textContent.trim();
  }
  function numberOf(text) {
    var plain = text.replace(/[−–]/g, "-").replace(/[,×%+]/g, "").trim();
    return plain === "" || plain === "-" ? NaN : Number(plain);
  }
  function compare(one, other) {
    var a = numberOf(one), b = numberOf(other);
    if (!isNaN(a) && !isNaN(b)) { return a - b; }
    return one.localeCompare(other, "en", { numeric: true, sensitivity: "base" });
  }
  function isEmpty(text) { return /^[−–-]?$/.test(text); }
  function sort(table, header, index) {
    var up = header.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th[aria-sort]").forEach(function (other) { other.removeAttribute("aria-sort"); });
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    var body = table.tBodies[0];
    Array.from(body.rows).map(function (row, place) { return [valueOf(row, index), place, row]; }).sort(function (one, other) {
      // What has no value stays last in both directions.
      if (isEmpty(one[0]) !== isEmpty(other[0])) { return isEmpty(one[0]) ? 1 : -1; }
      return (up ? 1 : -1) * compare(one[0], other[0]) || one[1] - other[1];
    }).forEach(function (entry) { body.appendChild(entry[2]); });
  }
  document.querySelectorAll("table[data-sortable]").forEach(function (table) {
    var rows = Array.from(table.tHead.rows), taken = [];
    rows.forEach(function (row, depth) {
      var index = 0;
      Array.from(row.cells).forEach(function (cell) {
        while (taken[index] > depth) { index += 1; }
        var place = index;
        for (var step = 0; step < cell.colSpan; step += 1) { taken[index] = depth + cell.rowSpan; index += 1; }
        if (depth + cell.rowSpan < rows.length || cell.tagName !== "TH") { return; }
        var button = document.createElement("button");
        button.type = "button";
        button.className = "sort";
        while (cell.firstChild) { button.appendChild(cell.firstChild); }
        if (!button.textContent.trim()) { button.setAttribute("aria-label", "Sort by the first column"); }
        cell.appendChild(button);
        button.addEventListener("click", function () { sort(table, cell, place); });
      });
    });
  });

  // Filter of a long list.
  document.querySelectorAll("input[data-filter]").forEach(function (input) {
    var rows = Array.from(document.getElementById(input.getAttribute("data-filter")).querySelectorAll("tbody > tr"));
    var said = input.parentNode.querySelector("[aria-live]");
    input.addEventListener("input", function () {
      var words = wordsOf(input.value), left = 0;
      rows.forEach(function (row) {
        row.hidden = !matches(row.textContent, words);
        left += row.hidden ? 0 : 1;
      });
      said.textContent = words.length ? left + " of " + rows.length : "";
    });
  });
  function wordsOf(text) { return text.toLowerCase().split(/\s+/).filter(Boolean); }
  function matches(text, words) {
    var low = text.toLowerCase();
    return words.every(function (word) { return low.indexOf(word) >= 0; });
  }

  // Search over the whole site.
  var field = document.getElementById("search"), list = document.getElementById("found"), chosen = -1;
  var root = document.body.getAttribute("data-root");
  function close() {
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }
  function choose(index) {
    var items = list.querySelectorAll("[role=option]");
    if (!items.length) { return; }
    chosen = (index + items.length) % items.length;
    items.forEach(function (item, place) { item.setAttribute("aria-selected", String(place === chosen)); });
    field.setAttribute("aria-activedescendant", items[chosen].id);
    items[chosen].scrollIntoView({ block: "nearest" });
  }
  function show() {
    var words = wordsOf(field.value), entries = window.SEARCH_INDEX || [];
    list.textContent = "";
    chosen = -1;
    if (!words.length) { close(); return; }
    entries.filter(function (entry) { return matches(entry[0] + " " + entry[1], words); }).slice(0, 30).forEach(function (entry, place) {
      var item = document.createElement("li"), link = document.createElement("a"), kind = document.createElement("span");
      item.id = "found-" + place;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", "false");
      kind.className = "kind";
      kind.textContent = entry[0];
      link.href = root + entry[2];
      link.tabIndex = -1;
      link.appendChild(kind);
      link.appendChild(document.createElement("span")).textContent = entry[1];
      item.appendChild(link);
      list.appendChild(item);
    });
    if (!list.children.length) {
      var none = list.appendChild(document.createElement("li"));
      none.className = "none";
      none.setAttribute("role", "presentation");
      none.textContent = "nothing found";
    }
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
  }
  field.addEventListener("input", show);
  field.addEventListener("focus", function () { if (field.value) { show(); } });
  field.addEventListener("keydown", function (event) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      choose(event.key === "ArrowDown" ? chosen + 1 : chosen - 1);
    } else if (event.key === "Enter") {
      var items = list.querySelectorAll("a"), link = items[Math.max(chosen, 0)];
      if (!list.hidden && link) { event.preventDefault(); link.click(); close(); }
    } else if (event.key === "Escape") {
      close();
    }
  });
  document.addEventListener("click", function (event) { if (!event.target.closest(".search")) { close(); } });
  document.addEventListener("keydown", function (event) {
    var typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) { event.preventDefault(); field.focus(); }
  });

  // What is folded is printed too, and an address that leads into a fold opens it.
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (fold) { fold.open = true; });
  });
}());
