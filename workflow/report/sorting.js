// Lets readers sort and filter tables. Each is prepared when it comes near the window; without this script it is a plain table.
const packed = Uint8Array.from(atob(document.getElementById("table-library").textContent), (c) => c.charCodeAt(0));
const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
const library = new Blob([await new Response(unpacked).text()], { type: "text/javascript" });
const address = URL.createObjectURL(library);
const { default: DataTable } = await import(address);
URL.revokeObjectURL(address);
DataTable.ext.errMode = "throw";

function prepare(table) {
  const filtered = table.classList.contains("filtered");
  const layout = { topStart: filtered ? "search" : null, topEnd: filtered ? "info" : null, bottomStart: null, bottomEnd: null };
  const language = { search: "Filter rows: ", zeroRecords: "No row has this.", info: "_TOTAL_ rows", infoEmpty: "0 rows", infoFiltered: "of _MAX_" };
  new DataTable(table, { paging: false, info: filtered, searching: filtered, order: [], autoWidth: false, layout, language });
}

const nearby = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        nearby.unobserve(entry.target);
        prepare(entry.target);
      }
    }
  },
  { rootMargin: "400px" },
);
document.querySelectorAll("table.sortable").forEach((table) => nearby.observe(table));
