// The interactive map: choose what colors the cells, point at one to read what is known of it.
(function () {
  "use strict";
  var data = JSON.parse(document.getElementById("cells").textContent);
  document.body.classList.add("scripted");
  document.querySelector("details.static").open = false;
  var box = document.getElementById("map"), canvas = box.querySelector("canvas");
  var select = document.getElementById("color"), tip = document.getElementById("tip");
  var legend = document.getElementById("legend"), pen = canvas.getContext("2d");
  var side = 560, margin = 10, scale = window.devicePixelRatio || 1;
  canvas.width = canvas.height = side * scale;
  canvas.style.width = side + "px";
  pen.scale(scale, scale);
  var x = data.x.map(function (v) { return margin + v * (side - 2 * margin); });
  var y = data.y.map(function (v) { return margin + (1 - v) * (side - 2 * margin); });

  data.columns.forEach(function (column, i) { select.add(new Option(column.name, i)); });

  function entry(color, text) {
    var item = document.createElement("span"), dot = document.createElement("i");
    dot.style.background = color;
    item.append(dot, text);
    legend.append(item);
  }

  function median(values) {
    return values.sort(function (a, b) { return a - b; })[values.length >> 1];
  }

  // the name of each level in the middle of its cells, as far as names have room
  function label(column) {
    var own = column.levels.map(function () { return []; });
    column.values.forEach(function (level, i) { own[level].push(i); });
    pen.font = "12px sans-serif";
    pen.textAlign = "center";
    pen.lineWidth = 3;
    pen.strokeStyle = "rgba(255, 255, 255, 0.85)";
    pen.fillStyle = "#222";
    own.forEach(function (cells, level) {
      if (!cells.length) { return; }
      var at = [x, y].map(function (v) {
        return median(cells.map(function (i) { return v[i]; }));
      });
      pen.strokeText(column.levels[level], at[0], at[1] + 4);
      pen.fillText(column.levels[level], at[0], at[1] + 4);
    });
  }

  function draw() {
    var column = data.columns[select.value];
    pen.clearRect(0, 0, side, side);
    var radius = x.length < 1000 ? 2.6 : 1.8;
    for (var i = 0; i < x.length; i++) {
      pen.fillStyle = column.colors[column.levels ? column.values[i] : i];
      pen.beginPath();
      pen.arc(x[i], y[i], radius, 0, 7);
      pen.fill();
    }
    legend.textContent = "";
    if (column.levels) {
      if (column.levels.length <= 40) { label(column); }
      column.levels.forEach(function (level, i) { entry(column.colors[i], level); });
      if (new Set(column.colors).size < column.levels.length) { legend.append("colors repeat"); }
    } else {
      var low = -1, high = -1, unknown = -1;
      column.values.forEach(function (v, i) {
        if (v === null) { unknown = i; return; }
        if (low < 0 || v < column.values[low]) { low = i; }
        if (high < 0 || v > column.values[high]) { high = i; }
      });
      if (low >= 0) {
        entry(column.colors[low], String(column.values[low]));
        entry(column.colors[high], String(column.values[high]));
      }
      if (unknown >= 0) { entry(column.colors[unknown], "unknown"); }
    }
  }

  canvas.addEventListener("mousemove", function (event) {
    var frame = canvas.getBoundingClientRect(), zoom = side / frame.width;
    var mx = (event.clientX - frame.left) * zoom, my = (event.clientY - frame.top) * zoom;
    var best = -1, least = 64;
    for (var i = 0; i < x.length; i++) {
      var d = (x[i] - mx) * (x[i] - mx) + (y[i] - my) * (y[i] - my);
      if (d < least) { least = d; best = i; }
    }
    tip.style.display = best < 0 ? "none" : "block";
    if (best < 0) { return; }
    tip.textContent = [data.names[best]].concat(data.columns.map(function (column) {
      var value = column.values[best];
      return column.name + ": " + (column.levels ? column.levels[value] : value);
    })).join("\n");
    tip.style.left = Math.min(x[best] / zoom + 12, frame.width - 150) + "px";
    tip.style.top = y[best] / zoom + 12 + "px";
  });
  canvas.addEventListener("mouseleave", function () { tip.style.display = "none"; });
  select.addEventListener("change", draw);
  draw();
})();
